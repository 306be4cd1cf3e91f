"""Names of objects below the storage root: five structures and four namings.

Every part that comes from a data set is reduced to `[A-Za-z0-9._-]`, at most 64
characters, never `.` or `..`. A changed part ends in a short hash of its original text, so
that two patients never share a folder.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

from draw_shared.contracts.server_config import FileNaming, StorageStructure

OBJECTS: Final = "objects"
CONFLICTS: Final = "conflicts"
SPOOL: Final = "spool"
CONFIG: Final = "config"
"""The newest configuration of the suite (`ConfigFile`)."""
TRASH: Final = "trash"
"""Files that lost their name and are about to be removed."""
ANNOUNCED: Final = "announced"
"""Records of confirmed announcements that may not be indexed yet (`AnnouncedRecords`)."""
LATEST_DELETION: Final = "latest-deletion"
"""An empty file whose modification time is that of the latest deletion (`LatestDeletion`)."""
SEALED_HEAD: Final = "sealed-head.json"
"""The newest sealed line of the transaction log (`SealedHeadFile`)."""
PLACE_KEY: Final = "place-key"
"""The key that seals the paths of objects in messages (`Places`)."""

MAX_PART_LENGTH: Final = 64
HASH_CHARACTERS: Final = 10
MAX_SUFFIX: Final = 9
CONFLICT_HASH: Final = 12
SHA256_CHARACTERS: Final = 64
REMEMBERED_PARTS: Final = 1024
"""Objects of one series arrive together and share all parts but one."""
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


class ObjectIdentity(NamedTuple):
    """The attributes of an object on which its name depends."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    instance_number: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The structure and naming in force."""

    structure: StorageStructure
    naming: FileNaming


@lru_cache(REMEMBERED_PARTS)
def safe_part(text: str) -> str:
    """Return a path part for `text`: itself if it is safe, else reduced and with a hash."""
    reduced = UNSAFE.sub("_", text)
    # A folder named like a file could take the name of a file.
    odd = not reduced or reduced.startswith(".") or reduced.endswith(".dcm")
    if reduced == text and len(text) <= MAX_PART_LENGTH and not odd:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    kept = reduced.lstrip(".")[: MAX_PART_LENGTH - HASH_CHARACTERS - 1]
    return f"{kept}-{digest}" if kept else f"none-{digest}"


def folder(structure: StorageStructure, identity: ObjectIdentity, received: datetime) -> str:
    """Return the folder below the storage root in which an object is filed."""
    parts: tuple[str, ...]
    match structure:
        case StorageStructure.FLAT:
            parts = ()
        case StorageStructure.PATIENT:
            parts = (safe_part(identity.patient_id),)
        case StorageStructure.STUDY:
            parts = (safe_part(identity.study_instance_uid),)
        case StorageStructure.SERIES:
            parts = (
                safe_part(identity.patient_id),
                safe_part(identity.study_instance_uid),
                safe_part(identity.series_instance_uid),
            )
        case StorageStructure.DATE:
            parts = (f"{received:%Y}", f"{received:%m}", f"{received:%d}")
    return "/".join((OBJECTS, *parts))


def candidates(
    naming: FileNaming,
    folder: str,
    identity: ObjectIdentity,
    received: datetime,
    content_sha256: str,
    first: int = 1,
) -> Iterator[str]:
    """Yield paths to try, best first; sequential numbers begin at `first`.

    Only the same object can already have the last path. If the name of a SOP instance has other
    bytes, the object is a conflict and goes to the folder of conflicts.
    """
    if naming is FileNaming.SEQUENTIAL:
        for number in count(first):
            yield f"{folder}/{number:06d}.dcm"
    own = f"{safe_part(identity.sop_instance_uid)}-{content_sha256}"
    match naming:
        case FileNaming.SOP_UID:
            yield f"{folder}/{safe_part(identity.sop_instance_uid)}.dcm"
            yield f"{CONFLICTS}/{own[: CONFLICT_HASH - SHA256_CHARACTERS]}.dcm"
            yield f"{CONFLICTS}/{own}.dcm"
            return
        case FileNaming.INSTANCE_NUMBER:
            stem = f"{identity.instance_number or 0:04d}"
        case _:
            stem = f"{received:%Y%m%d_%H%M%S_%f}"
    yield f"{folder}/{stem}.dcm"
    for number in range(2, MAX_SUFFIX + 1):
        yield f"{folder}/{stem}_{number}.dcm"
    # With many objects of one number in one folder, do not try all their names.
    yield f"{folder}/{stem}_{hashlib.sha256(own.encode()).hexdigest()}.dcm"
