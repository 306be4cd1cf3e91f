"""Finds the durable objects that are not announced yet, and their studies."""

import os
from pathlib import Path
from typing import Final

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.storage import layout, spool
from draw_shared.storage.identification import identify

MAX_OBJECTS: Final = 2_000
"""More waiting objects than this mean that the broker is away or far behind."""


def unannounced_studies(root: Path) -> frozenset[str] | None:
    """Return the studies of all unannounced objects; None when there are too many objects."""
    found = unannounced_entries(root)
    if len(found) > MAX_OBJECTS:
        return None
    return frozenset(study for entry in found if (study := _study_of(entry)))


def unannounced_entries(root: Path) -> list[str]:
    """Return the paths of the spool entries of all replicas.

    A replica that takes over another's folder may move entries into one that was read before: of
    several folders, all are read twice.
    """
    try:
        replicas = [path for path in (root / layout.SPOOL).iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    rounds = replicas if len(replicas) < 2 else replicas * 2  # noqa: PLR2004 - see above
    found = {spool.entry_name(e): e for replica in rounds for e in spool.entries(replica)}
    return list(found.values())


def _study_of(entry: str) -> str:
    try:
        with Path(entry).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            meta, offset = part10.decode(file.read(part10.MAX_META_BYTES))
            return identify(
                lambda most: os.pread(file.fileno(), most, offset),
                size - offset,
                meta.transfer_syntax_uid,
            ).identity.study_instance_uid
    except (FileNotFoundError, Undecodable):
        # Announced meanwhile, or damaged and kept for an operator to inspect.
        return ""
