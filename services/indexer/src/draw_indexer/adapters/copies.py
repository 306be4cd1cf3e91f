"""Removes duplicate files of indexed objects, once the other file is proved to be whole.

A copy is a second file of an object whose row names another one. Both files are read completely
before this process takes its turn to write the index, because reading is slow. Within the turn it
checks again which file the row names, and whether that is still the file that was read. If the
row's file is missing or damaged, the row moves to the copy instead.

Concurrency: every indexer may run this; the turn admits one at a time, and receivers continue to
store files meanwhile. `StorageFiles.remove` therefore sets a file aside first and keeps it if a
receiver has touched it. If the process dies, the record of the copy remains and the next run, of
any indexer, repeats it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, text
from typing_extensions import override

from draw_indexer.ports.clean_up import SuperfluousCopies
from draw_shared.db import deletion, tombstones
from draw_shared.db.deletion import LeftFile
from draw_shared.db.feed import take_turn
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database
from draw_shared.storage.removal import FileContent, FileMark, Removed, StorageFiles

log = structlog.get_logger()

PENDING: Final = text(
    """
    SELECT id, path, sop_instance_uid, study_instance_uid,
        encode(content_sha256, 'hex') AS content_sha256, inode, modified_ns, size_bytes
    FROM file_copies WHERE id > :after ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
FIRSTS: Final = text(
    """
    SELECT k.id, f.path FROM unnest(CAST(:ids AS bigint[]), CAST(:uids AS text[]),
        CAST(:hashes AS text[])) AS k (id, uid, hash)
    JOIN (SELECT sop_instance_uid, content_sha256, path FROM instances
            WHERE sop_instance_uid = ANY(:uids)
        UNION SELECT sop_instance_uid, content_sha256, path FROM instance_conflicts
            WHERE sop_instance_uid = ANY(:uids)) f
    ON f.sop_instance_uid = k.uid AND f.content_sha256 = decode(k.hash, 'hex')
    """
)
MOVE: Final = (
    text(
        "UPDATE instances SET path = :path, size_bytes = :size"
        " WHERE sop_instance_uid = :uid AND path = :former"
        " AND content_sha256 = decode(:hash, 'hex')"
    ),
    text(
        "UPDATE instance_conflicts SET path = :path, size_bytes = :size"
        " WHERE sop_instance_uid = :uid AND path = :former"
        " AND content_sha256 = decode(:hash, 'hex')"
    ),
)
FOLLOW: Final = text(
    "UPDATE file_copies SET path = :path, inode = :inode, modified_ns = :modified_ns WHERE id = :id"
)
FORGET: Final = text("DELETE FROM file_copies WHERE id = ANY(:ids)")
MAX_BYTES_PER_RUN: Final = 256 * 1024 * 1024
"""The maximum to read for one transaction, except for a single larger file."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that may be superfluous."""

    id: int
    path: str
    sop_instance_uid: str
    study_instance_uid: str
    content_sha256: str
    inode: int
    modified_ns: int
    size_bytes: int

    @property
    def mark(self) -> FileMark:
        """Identifies the file that the record means."""
        return FileMark(self.inode, self.modified_ns, self.size_bytes)

    def is_in(self, content: FileContent | None) -> bool:
        """Return whether the content is this object, complete."""
        return content is not None and (
            (content.sop_instance_uid, content.content_sha256)
            == (self.sop_instance_uid, self.content_sha256)
        )


@dataclass(frozen=True, slots=True)
class ComparedCopy:
    """The content of a copy and of the file that the row names."""

    copy: Copy
    own: FileContent | None
    first: str | None
    """The path in the row; None without a row."""
    content: FileContent | None


class FileCopies(SuperfluousCopies):
    """Compares copies with the files that rows name, and removes superfluous ones.

    Args:
        freed: receives the number of bytes that were freed.
    """

    def __init__(
        self, database: Database, root: Path, *, freed: Callable[[int], None] = lambda _: None
    ) -> None:
        self._database = database
        self._files = StorageFiles(root)
        self._freed = freed
        self._after = 0

    @override
    def remove(self, most: int) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            rows = connection.execute(PENDING, {"most": most, "after": self._after})
            copies = _limit_bytes([Copy(**row) for row in rows.mappings()])
            if not copies:
                self._after = 0
                return 0
            compared = self._compare(connection, copies)
            take_turn(connection)
            found = [copy for copy in copies if self._recover(connection, copy)]
            if not found:
                # Continue after the last one, so that the others get their turn.
                self._after = copies[-1].id
            done = [
                item
                for item in compared
                if item.copy not in found and self._settle(connection, item)
            ]
            gone = [item for item in done if self._files.mark(item.copy.path) is None]
            for item in gone:
                if item.first is not None:
                    # The copy came from sending the object again: retention counts from then.
                    self._files.renew(item.first, item.copy.modified_ns)
            connection.execute(FORGET, {"ids": [item.copy.id for item in done]})
            session.commit()
        if gone:
            freed = sum(item.copy.size_bytes for item in gone)
            log.info("copies.removed", files=len(gone), size_bytes=freed)
            self._freed(freed)
        self._files.tidy([item.copy.path for item in gone])
        return len(done) + len(found)

    def _compare(self, connection: Connection, copies: Sequence[Copy]) -> list[ComparedCopy]:
        firsts = _read_row_paths(connection, copies)
        compared = (self._read(copy, firsts.get(copy.id)) for copy in copies)
        return [item for item in compared if item is not None]

    def _read(self, copy: Copy, first: str | None) -> ComparedCopy | None:
        if first is None or first == copy.path:
            return ComparedCopy(copy, None, first, None)
        try:
            own, content = self._files.content(copy.path), self._files.content(first)
        except OSError as error:
            log.warning("copy.not_read", copy=copy.id, error=type(error).__name__)
            return None
        return ComparedCopy(copy, own, first, content)

    def _recover(self, connection: Connection, copy: Copy) -> bool:
        """Return whether an interrupted removal was found; the file then has its name again."""
        aside = self._files.lies_aside(copy.mark)
        if aside:
            self._files.put_back(copy.path, copy.mark)
        found = self._files.whereabouts(copy.path, copy.mark)
        elsewhere = found is not None and found[0] != copy.path
        if elsewhere:
            self._follow(connection, copy)
        return aside or elsewhere

    def _follow(self, connection: Connection, copy: Copy) -> bool:
        """Update the record with the copy's present path and time of modification.

        Return whether the copy still exists.
        """
        found = self._files.whereabouts(copy.path, copy.mark)
        if found is not None:
            path, mark = found
            values = {"path": path, "inode": mark.inode, "modified_ns": mark.modified_ns}
            connection.execute(FOLLOW, values | {"id": copy.id})
        return found is not None

    def _settle(self, connection: Connection, item: ComparedCopy) -> bool:
        """Remove, keep or promote a copy; return whether nothing is left to do."""
        copy = item.copy
        # Read again for each: another copy of the object may have become the row's file.
        if item.first != _read_row_paths(connection, [copy]).get(copy.id):
            return False
        if item.first == copy.path:
            return True
        if item.first is None:
            return self._settle_without_row(connection, copy)
        return self._settle_beside_row(connection, item, item.first)

    def _settle_beside_row(self, connection: Connection, item: ComparedCopy, first: str) -> bool:
        """Keep the one that is whole of a copy and its row's file; prefer the row's."""
        copy = item.copy
        if item.own is None:
            # It may have reappeared since the search, and is not proved yet.
            return self._files.mark(copy.path) is None
        if not copy.is_in(item.own):
            # The path now holds another object, or the file is damaged: it proves nothing.
            if not copy.is_in(item.content):
                log.error("copy.neither_is_whole", sop_instance_uid=copy.sop_instance_uid)
            return True
        if copy.is_in(item.content):
            return self._remove_superfluous(connection, item, first)
        return self._move_row(connection, item, first)

    def _remove_superfluous(self, connection: Connection, item: ComparedCopy, first: str) -> bool:
        copy, content = item.copy, item.content

        def still_there() -> bool:
            return content is not None and self._files.mark(first) == content.mark

        end = self._files.remove(copy.path, copy.mark, copy.sop_instance_uid, still_there)
        # Kept: a receiver has touched the file, perhaps just before it was set aside, and then does
        # not announce it; or the row's file has changed.
        return end is Removed.GONE or not self._follow(connection, copy)

    def _move_row(self, connection: Connection, item: ComparedCopy, former: str) -> bool:
        """Make the row name the copy, because the row's own file is missing or damaged."""
        copy, own = item.copy, item.own
        read = item.content.mark if item.content is not None else None
        damaged = self._files.mark(former)
        if own is None or self._files.mark(copy.path) != own.mark or damaged != read:
            return False
        values = {
            "path": copy.path,
            "size": own.mark.size_bytes,
            "uid": copy.sop_instance_uid,
            "hash": copy.content_sha256,
            "former": former,
        }
        for statement in MOVE:
            connection.execute(statement, values)
        if damaged is not None:
            left = LeftFile(former, copy.sop_instance_uid, copy.study_instance_uid, "")
            deletion.record_left(connection, [(left, damaged)], [], self._files)
        log.warning(
            "copy.replaces_file",
            sop_instance_uid=copy.sop_instance_uid,
            damaged=damaged is not None,
        )
        return True

    def _settle_without_row(self, connection: Connection, copy: Copy) -> bool:
        """Remove a copy whose object was deleted; otherwise wait for a row or a deletion."""
        deleted = copy.modified_ns < tombstones.of(connection, [copy]).before(copy)
        end = self._files.remove(copy.path, copy.mark, copy.sop_instance_uid, lambda: deleted)
        return end is Removed.GONE or not self._follow(connection, copy)


def _limit_bytes(copies: Sequence[Copy]) -> list[Copy]:
    taken: list[Copy] = []
    size = 0
    for copy in copies:
        size += copy.size_bytes
        if taken and size > MAX_BYTES_PER_RUN:
            break
        taken.append(copy)
    return taken


def _read_row_paths(connection: Connection, copies: Sequence[Copy]) -> dict[int, str]:
    """Return the path in the row of each copy's object."""
    values = {
        "ids": [copy.id for copy in copies],
        "uids": [copy.sop_instance_uid for copy in copies],
        "hashes": [copy.content_sha256 for copy in copies],
    }
    return {row.id: row.path for row in connection.execute(FIRSTS, values)}
