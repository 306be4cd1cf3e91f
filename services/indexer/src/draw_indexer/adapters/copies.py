"""Removes second files of objects that the index has, each only when the first is proved.

Both files are read whole, before the index's turn is taken, for that takes time. In the turn
it is asked again which file the row names, and whether that is still the file that was read.
A copy is better than a file that is missing or damaged: then the row moves to the copy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, text

from draw_indexer.adapters.refuge import record_refuge
from draw_shared.db import deletion, tombstones
from draw_shared.db.deletion import LeftFile
from draw_shared.db.feed import take_turn
from draw_shared.db.guard import require_current_schema
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
    ),
    text(
        "UPDATE instance_conflicts SET path = :path, size_bytes = :size"
        " WHERE sop_instance_uid = :uid AND path = :former"
    ),
)
FORGET: Final = text("DELETE FROM file_copies WHERE id = ANY(:ids)")
MOST_BYTES: Final = 256 * 1024 * 1024
"""What is read for one transaction, a single larger file excepted."""


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
        """Which file is meant."""
        return FileMark(self.inode, self.modified_ns, self.size_bytes)

    def is_in(self, content: FileContent | None) -> bool:
        """Return whether this is the object, whole."""
        return content is not None and (
            (content.sop_instance_uid, content.content_sha256)
            == (self.sop_instance_uid, self.content_sha256)
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """What was read of a copy and of the file that the row names."""

    copy: Copy
    own: FileContent | None
    first: str | None
    """Path that the row names; None without a row."""
    content: FileContent | None


class FileCopies:
    """The use case's way to copies.

    Args:
        freed: takes note of how many bytes there are again room for.
    """

    def __init__(
        self, database: Database, root: Path, *, freed: Callable[[int], None] = lambda _: None
    ) -> None:
        self._database = database
        self._files = StorageFiles(root)
        self._freed = freed
        self._after = 0

    def remove(self, most: int) -> int:
        """Remove copies whose object is proved to be there, and return how many were looked at.

        What could not be judged stays for the next time, and is not counted.
        """
        with self._database.session() as session:
            require_current_schema(session)
            connection = session.connection()
            rows = connection.execute(PENDING, {"most": most, "after": self._after})
            copies = _not_too_much([Copy(**row) for row in rows.mappings()])
            # The others are asked again after the last.
            self._after = copies[-1].id if copies else 0
            if not copies:
                return 0
            compared = [item for item in self._compared(connection, copies) if item is not None]
            take_turn(connection)
            named = _firsts(connection, copies)
            done = [
                item
                for item in compared
                if item.first == named.get(item.copy.id) and self._settled(connection, item)
            ]
            gone = [item for item in done if self._files.mark(item.copy.path) is None]
            for item in gone:
                if item.first is not None:
                    # The object was sent again then: retention counts from that.
                    self._files.renew(item.first, item.copy.modified_ns)
            connection.execute(FORGET, {"ids": [item.copy.id for item in done]})
            session.commit()
        if gone:
            freed = sum(item.copy.size_bytes for item in gone)
            log.info("copies.removed", files=len(gone), size_bytes=freed)
            self._freed(freed)
        self._files.tidy([item.copy.path for item in gone])
        return len(done)

    def _compared(self, connection: Connection, copies: Sequence[Copy]) -> list[Compared | None]:
        firsts = _firsts(connection, copies)
        return [self._read(copy, firsts.get(copy.id)) for copy in copies]

    def _read(self, copy: Copy, first: str | None) -> Compared | None:
        try:
            own = self._files.content(copy.path)
            content = self._files.content(first) if first is not None else None
        except OSError as error:
            log.warning("copy.not_read", copy=copy.id, error=type(error).__name__)
            return None
        return Compared(copy, own, first, content)

    def _settled(self, connection: Connection, item: Compared) -> bool:
        """Do what is right with a copy, and return whether nothing is left to do."""
        copy = item.copy
        if item.first == copy.path:
            return True
        if item.first is None:
            return self._without_row(connection, copy)
        if copy.is_in(item.content):
            return self._superfluous(connection, item, item.first)
        if copy.is_in(item.own):
            return self._moved(connection, item, item.first)
        if item.own is None:
            # A crash left it out of the way, and there is nothing that makes it superfluous.
            self._files.remove(copy.path, copy.mark, copy.sop_instance_uid, lambda: False)
            record_refuge(connection, self._files, copy.study_instance_uid, copy.mark)
            return self._files.mark(copy.path) is None
        log.error("copy.neither_is_whole", sop_instance_uid=copy.sop_instance_uid)
        return True

    def _superfluous(self, connection: Connection, item: Compared, first: str) -> bool:
        copy, content = item.copy, item.content
        if item.own is not None and not copy.is_in(item.own):
            # Another object has the name now, or it is damaged and tells nothing.
            record_refuge(connection, self._files, copy.study_instance_uid, copy.mark)
            return True

        if item.own is None and self._files.mark(copy.path) is not None:
            # It has come back since it was looked for, and is not proved yet.
            return False

        def still_there() -> bool:
            return content is not None and self._files.mark(first) == content.mark

        end = self._files.remove(copy.path, copy.mark, copy.sop_instance_uid, still_there)
        if end is Removed.KEPT:
            record_refuge(connection, self._files, copy.study_instance_uid, copy.mark)
        # Kept: the receiver wants it again, and announces it; or the first has changed.
        return end is Removed.GONE or still_there()

    def _moved(self, connection: Connection, item: Compared, former: str) -> bool:
        """Have the row name the copy; its own file is missing or damaged."""
        copy, own = item.copy, item.own
        if own is None or self._files.mark(copy.path) != own.mark:
            return False
        values = {
            "path": copy.path,
            "size": own.mark.size_bytes,
            "uid": copy.sop_instance_uid,
            "former": former,
        }
        for statement in MOVE:
            connection.execute(statement, values)
        damaged = LeftFile(former, copy.sop_instance_uid, copy.study_instance_uid, "")
        deletion.record_files(connection, [damaged], self._files)
        log.warning(
            "copy.replaces_file",
            sop_instance_uid=copy.sop_instance_uid,
            damaged=item.content is not None,
        )
        return True

    def _without_row(self, connection: Connection, copy: Copy) -> bool:
        """Remove what was deleted meanwhile; else it is the only file, and is kept."""
        found = tombstones.of(connection, [copy.study_instance_uid, copy.sop_instance_uid])
        before = found.before(copy.study_instance_uid, copy.sop_instance_uid)
        deleted = copy.modified_ns < before
        self._files.remove(copy.path, copy.mark, copy.sop_instance_uid, lambda: deleted)
        return True


def _not_too_much(copies: Sequence[Copy]) -> list[Copy]:
    taken: list[Copy] = []
    size = 0
    for copy in copies:
        size += copy.size_bytes
        if taken and size > MOST_BYTES:
            break
        taken.append(copy)
    return taken


def _firsts(connection: Connection, copies: Sequence[Copy]) -> dict[int, str]:
    """Return the path that the row of each copy's object names."""
    values = {
        "ids": [copy.id for copy in copies],
        "uids": [copy.sop_instance_uid for copy in copies],
        "hashes": [copy.content_sha256 for copy in copies],
    }
    return {row.id: row.path for row in connection.execute(FIRSTS, values)}
