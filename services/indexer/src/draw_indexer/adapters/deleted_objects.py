"""Finds announced objects that were deleted, or whose file is gone.

Runs within this process's turn to write, so no file is deleted or removed at the same time.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from draw_indexer.models import AnnouncedObject, Arrival, DepartedObjects
from draw_shared.db import deletion, tombstones
from draw_shared.db.deletion import LeftFile
from draw_shared.storage.removal import FileMark, StorageFiles


def judge_arrivals(
    connection: Connection, files: StorageFiles, arrivals: Sequence[Arrival]
) -> tuple[DepartedObjects, list[tuple[LeftFile, FileMark]]]:
    """Return which objects departed, and the files to remove with what was deleted."""
    found = tombstones.of(connection, [arrival.stored for arrival in arrivals])
    if not found:
        return DepartedObjects(), []
    deleted: list[tuple[Arrival, FileMark]] = []
    missing: list[Arrival] = []
    for arrival in arrivals:
        before = found.before(arrival.stored)
        if not before:
            continue
        mark = files.mark(arrival.stored.path)
        if not _is_still_there(files, arrival.stored, mark, before):
            missing.append(arrival)
        elif mark is not None and _is_deleted(files, arrival.stored, mark, before):
            deleted.append((arrival, mark))
    named = deletion.named_paths(connection, [a.stored.sop_instance_uid for a, _ in deleted])
    for arrival, _ in deleted:
        if arrival.stored.path in named:
            # The object names a deleted study and is in another; earlier releases did not record
            # that.
            files.renew(arrival.stored.path, found.before(arrival.stored))
    gone = [(a, mark) for a, mark in deleted if a.stored.path not in named]
    return (
        DepartedObjects([arrival for arrival, _ in gone], missing),
        [(left_file(arrival.stored), mark) for arrival, mark in gone],
    )


def _is_deleted(files: StorageFiles, stored: AnnouncedObject, mark: FileMark, before: int) -> bool:
    """Return whether a file is older than the deletion of its object."""
    if mark.modified_ns >= before:
        return False
    if stored.dated_ns >= before:
        # The object was received after the deletion, and then a backup replaced its file.
        files.renew(stored.path, stored.dated_ns)
        return False
    return True


def _is_still_there(
    files: StorageFiles, stored: AnnouncedObject, mark: FileMark | None, before: int
) -> bool:
    """Return whether the file is still the announced one.

    Its header was read before the turn. Since then a removal may have deleted the file, or set it
    aside and perhaps will restore it, and another object may have got its name.
    """
    older = mark is None or mark.modified_ns < before
    if not (older and stored.dated_ns >= before):
        if received_ns(stored) >= before:
            return files.instance(stored.path) == stored.sop_instance_uid
        if older:
            return mark is not None
    # Announced before the deletion, but written or claimed after it, perhaps as another version. Or
    # received after it, and another file has taken its place.
    content = files.content(stored.path)
    return content is not None and (
        (content.sop_instance_uid, content.content_sha256)
        == (stored.sop_instance_uid, stored.content_sha256)
    )


def received_ns(stored: AnnouncedObject) -> int:
    """Return when the first byte arrived, by the receiver's clock, in nanoseconds since 1970."""
    return int(stored.received_at.timestamp() * 1_000_000) * 1000


def left_file(stored: AnnouncedObject) -> LeftFile:
    """Return the announced file as one that perhaps no row needs."""
    return LeftFile(
        stored.path, stored.sop_instance_uid, stored.study_instance_uid, stored.content_sha256
    )
