"""Compares the index in PostgreSQL with a list of the files on the volume."""

from collections.abc import Iterable, Sequence
from typing import Final

from psycopg import Connection as PsycopgConnection
from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.upkeep import Differences, FoundFile, LostRows
from draw_api.ports.reconcile import IndexAuditRepository
from draw_shared.db import deletion
from draw_shared.db.feed import take_turn

FILES: Final = text(
    'CREATE TEMPORARY TABLE found_files (path text COLLATE "C", size_bytes bigint) ON COMMIT DROP'
)
ANALYZE: Final = text("ANALYZE found_files")
COPY: Final = "COPY found_files (path, size_bytes) FROM STDIN"
COUNT: Final = text("SELECT count(*) FROM found_files")
ROWS_WITHOUT_FILE: Final = text(
    "SELECT i.sop_instance_uid, i.path FROM instances i"
    " WHERE NOT EXISTS (SELECT FROM found_files f WHERE f.path = i.path) ORDER BY i.path"
)
CONFLICTS_WITHOUT_FILE: Final = text(
    "SELECT c.id, c.path FROM instance_conflicts c"
    " WHERE NOT EXISTS (SELECT FROM found_files f WHERE f.path = c.path) ORDER BY c.path"
)
# Files on record for removal are known. A copy goes with its row, or by a tombstone.
FILES_WITHOUT_ROW: Final = text(
    """
    SELECT f.path FROM found_files f
    WHERE NOT EXISTS (SELECT FROM instances i WHERE i.path = f.path)
        AND NOT EXISTS (SELECT FROM instance_conflicts c WHERE c.path = f.path)
        AND NOT EXISTS (SELECT FROM file_deletions d WHERE d.path = f.path)
        AND NOT EXISTS (SELECT FROM file_copies d WHERE d.path = f.path
            AND (EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = d.sop_instance_uid
                    AND i.content_sha256 = d.content_sha256)
                OR EXISTS (SELECT FROM instance_conflicts c
                    WHERE c.sop_instance_uid = d.sop_instance_uid
                    AND c.content_sha256 = d.content_sha256)
                OR EXISTS (SELECT FROM tombstones t WHERE t.before_ns > d.modified_ns
                    AND t.uid IN (d.study_instance_uid, d.sop_instance_uid,
                        d.sop_instance_uid || ':' || encode(d.content_sha256, 'hex')))))
    ORDER BY f.path
    """
)
OTHER_SIZE: Final = text(
    "SELECT i.path FROM instances i JOIN found_files f ON f.path = i.path"
    " WHERE f.size_bytes <> i.size_bytes ORDER BY i.path"
)
FORGET_CONFLICTS: Final = text(
    "DELETE FROM instance_conflicts WHERE id = ANY(:ids) AND path = ANY(:paths)"
)


class PostgresIndexAuditRepository(IndexAuditRepository):
    """The comparison and its repair, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def compare(self, files: Iterable[FoundFile]) -> Differences:
        execute = self._connection.execute
        execute(FILES)
        driver = self._connection.connection.driver_connection
        if not isinstance(driver, PsycopgConnection):
            raise TypeError("the database driver is psycopg")
        with driver.cursor() as cursor, cursor.copy(COPY) as copy:
            for file in files:
                copy.write_row((file.path, file.size_bytes))
        execute(ANALYZE)
        return Differences(
            files=int(execute(COUNT).scalar_one()),
            rows_without_file=[(uid, path) for uid, path in execute(ROWS_WITHOUT_FILE)],
            conflicts_without_file=[(key, path) for key, path in execute(CONFLICTS_WITHOUT_FILE)],
            files_without_row=list(execute(FILES_WITHOUT_ROW).scalars()),
            other_size=list(execute(OTHER_SIZE).scalars()),
        )

    @override
    def hold(self) -> None:
        take_turn(self._connection)

    @override
    def forget_rows(self, rows: Sequence[tuple[str, str]], by: str) -> LostRows:
        gone = deletion.delete_instances(self._connection, rows, by=by)
        return LostRows(gone.instances, gone.studies)

    @override
    def forget_conflicts(self, conflicts: Sequence[tuple[int, str]]) -> None:
        if conflicts:
            take_turn(self._connection)
            values = {
                "ids": [key for key, _ in conflicts],
                "paths": [path for _, path in conflicts],
            }
            self._connection.execute(FORGET_CONFLICTS, values)
