"""Judges whether what was announced was deleted since, and whether its file still lies there.

Within the index's turn: no deletion and no removal of a file happens meanwhile.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from draw_indexer.models import Arrival, Departed, Stored
from draw_shared.db import deletion, tombstones
from draw_shared.db.deletion import LeftFile
from draw_shared.storage.removal import FileMark, StorageFiles


def judged(
    connection: Connection, files: StorageFiles, arrivals: Sequence[Arrival]
) -> tuple[Departed, list[tuple[LeftFile, FileMark]]]:
    """Return what departed of these, and the files that have to go with what was deleted."""
    found = tombstones.of(connection, named_uids([a.stored for a in arrivals]))
    if not found:
        return Departed(), []
    deleted: list[tuple[Arrival, FileMark]] = []
    missing: list[Arrival] = []
    for arrival in arrivals:
        stored = arrival.stored
        before = before_ns(found, stored)
        if not before:
            continue
        mark = files.mark(stored.path)
        if not _lies_there(files, stored, mark, before):
            missing.append(arrival)
        elif mark is not None and mark.modified_ns < before:
            deleted.append((arrival, mark))
    named = deletion.named_paths(connection, [a.stored.sop_instance_uid for a, _ in deleted])
    for arrival, _ in deleted:
        if arrival.stored.path in named:
            # It names a deleted study and lies in another, which earlier releases did not say.
            files.renew(arrival.stored.path, before_ns(found, arrival.stored))
    gone = [(a, mark) for a, mark in deleted if a.stored.path not in named]
    return (
        Departed([arrival for arrival, _ in gone], missing),
        [(left_file(arrival.stored), mark) for arrival, mark in gone],
    )


def _lies_there(files: StorageFiles, stored: Stored, mark: FileMark | None, before: int) -> bool:
    """Return whether the file is still the one that was announced.

    Its header was read before the turn. Since then it may have been removed, or put aside
    by a removal that brings it back, and another object may have been given its name.
    """
    if received_ns(stored) >= before:
        return files.instance(stored.path) == stored.sop_instance_uid
    if mark is None or mark.modified_ns < before:
        return mark is not None
    # Announced before the deletion, written or claimed after it: also another version.
    content = files.content(stored.path)
    return content is not None and (
        (content.sop_instance_uid, content.content_sha256)
        == (stored.sop_instance_uid, stored.content_sha256)
    )


def named_uids(objects: Sequence[Stored]) -> set[str]:
    """Return the UIDs by which tombstones may concern these objects."""
    studies = {stored.study_instance_uid for stored in objects}
    return studies.union(stored.sop_instance_uid for stored in objects)


def before_ns(found: tombstones.Tombstones, stored: Stored) -> int:
    """Return before which moment an object counts as deleted, in nanoseconds; 0 for never."""
    return found.before(stored.study_instance_uid, stored.sop_instance_uid)


def received_ns(stored: Stored) -> int:
    """Return when its first byte came, by the receiver's clock, in nanoseconds since 1970."""
    return int(stored.received_at.timestamp() * 1_000_000) * 1000


def left_file(stored: Stored) -> LeftFile:
    """Return the announced file as one that no row may need any more."""
    return LeftFile(
        stored.path, stored.sop_instance_uid, stored.study_instance_uid, stored.content_sha256
    )
