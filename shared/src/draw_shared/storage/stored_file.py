"""Describes a stored object from its file alone."""

import os
from datetime import UTC, datetime
from pathlib import Path

from draw_shared.dicom.encoding import part10
from draw_shared.storage.identification import identify
from draw_shared.storage.objects import Stored, hash_rest, received_at


def describe_file(root: Path, path: str) -> Stored:
    """Return the object at a path; without our provenance, it was received when it was written.

    Raises:
        Undecodable, ValueError: the file is not a DICOM object.
        OSError: the file cannot be read.
    """
    with (root / path).open("rb") as file:
        status = os.fstat(file.fileno())
        meta, offset = part10.decode(file.read(part10.MAX_META_BYTES))
        identity = identify(
            lambda most: os.pread(file.fileno(), most, offset),
            status.st_size - offset,
            meta.transfer_syntax_uid,
        ).identity
        file.seek(offset)
        digest = hash_rest(file.read)
    try:
        received = received_at(meta, "")
    except ValueError:
        received = datetime.fromtimestamp(status.st_mtime, UTC)
    return Stored("", path, status.st_size, digest, received, meta, identity, duplicate=False)
