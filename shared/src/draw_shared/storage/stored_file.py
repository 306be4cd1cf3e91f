"""What a file on the storage volume says of its object."""

import os
from datetime import UTC, datetime
from pathlib import Path

from draw_shared.dicom.encoding import part10
from draw_shared.storage.identification import identify
from draw_shared.storage.objects import Stored, hash_rest, received_at


def described(root: Path, path: str) -> Stored:
    """Return what lies at a path, from the file alone; a file of others was received when written.

    Raises:
        Undecodable, ValueError: it is no object.
        OSError: it cannot be read.
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
