"""Records in PostgreSQL what each job expects, and which of it has arrived.

An object that the index knew before the job counts only while its file exists with the size that
the index records.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from typing_extensions import override

from draw_qr_worker.adapters.job_queries import hold
from draw_qr_worker.models import ArrivalCounts, Item, Lease, Unlisted
from draw_qr_worker.ports.retrieving import ItemRepository
from draw_shared.db.session import Database
from draw_shared.storage.removal import OutsideStorage, StorageFiles

ITEMS: Final = text(
    """
    SELECT study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid,
        arrived_at IS NOT NULL AS arrived
    FROM retrieve_items WHERE job_id = :job_id
    ORDER BY study_instance_uid, series_instance_uid, id
    """
)
RECORD: Final = text(
    """
    INSERT INTO retrieve_items (job_id, study_instance_uid, series_instance_uid,
        sop_instance_uid, sop_class_uid, arrives_here)
    SELECT :job_id, given.study, given.series, given.sop, given.class, :arrives_here
    FROM unnest(CAST(:studies AS text[]), CAST(:series AS text[]), CAST(:sops AS text[]),
        CAST(:classes AS text[])) AS given (study, series, sop, class)
    ON CONFLICT (job_id, sop_instance_uid) DO NOTHING
    """
)
# The indexer locks rows in the same order.
DROP: Final = text(
    """
    DELETE FROM retrieve_items WHERE id IN (
        SELECT id FROM retrieve_items WHERE job_id = :job_id AND study_instance_uid = ANY(:studies)
        ORDER BY id FOR UPDATE)
    """
)
INDEXED: Final = text(
    """
    SELECT i.id, n.path, n.size_bytes FROM retrieve_items i
    JOIN instances n ON n.sop_instance_uid = i.sop_instance_uid
    JOIN series e ON e.id = n.series_pk JOIN studies s ON s.id = e.study_pk
    WHERE i.job_id = :job_id AND i.arrived_at IS NULL AND i.arrives_here
        AND s.study_instance_uid = i.study_instance_uid
    """
)
# Skip rows that the indexer is marking now: waiting for them could deadlock.
MARK_HERE: Final = text(
    """
    UPDATE retrieve_items SET arrived_at = now() WHERE id IN (
        SELECT id FROM retrieve_items WHERE id = ANY(:ids) AND arrived_at IS NULL
        FOR UPDATE SKIP LOCKED)
    """
)
ARRIVALS: Final = text(
    """
    SELECT count(*) AS expected, count(i.arrived_at) AS arrived,
        coalesce(sum(n.size_bytes) FILTER (WHERE i.arrived_at IS NOT NULL), 0) AS size_bytes
    FROM retrieve_items i LEFT JOIN instances n ON n.sop_instance_uid = i.sop_instance_uid
    WHERE i.job_id = :job_id
    """
)
MARK_ALL_BUT: Final = text(
    """
    UPDATE retrieve_items SET arrived_at = now() WHERE job_id = :job_id AND arrived_at IS NULL
        AND NOT sop_instance_uid = ANY(:all_but)
    """
)
MARK: Final = text(
    """
    UPDATE retrieve_items SET arrived_at = now() WHERE job_id = :job_id AND arrived_at IS NULL
        AND sop_instance_uid = ANY(:these)
    """
)
UNLISTED: Final = text(
    """
    SELECT s.study_instance_uid, count(*) AS here,
        count(*) FILTER (WHERE n.received_at >= j.started_at) AS since,
        coalesce(sum(n.size_bytes) FILTER (WHERE n.received_at >= j.started_at), 0) AS size_bytes
    FROM jobs j, studies s JOIN series e ON e.study_pk = s.id
        JOIN instances n ON n.series_pk = e.id
    WHERE j.id = :job_id AND s.study_instance_uid = ANY(:studies)
        AND (:series = '' OR e.series_instance_uid = :series)
        AND NOT EXISTS (SELECT FROM retrieve_items i
            WHERE i.job_id = :job_id AND i.sop_instance_uid = n.sop_instance_uid)
    GROUP BY s.study_instance_uid
    """
)


class PostgresItemRepository(ItemRepository):
    """The table `retrieve_items`, joined with the index and its files."""

    def __init__(self, database: Database, files: StorageFiles) -> None:
        self._database = database
        self._files = files

    @override
    def items(self, job_id: UUID) -> Sequence[Item]:
        with self._database.session() as session:
            rows = session.connection().execute(ITEMS, {"job_id": job_id}).mappings()
            return [Item(**row) for row in rows]

    @override
    def record(
        self,
        lease: Lease,
        items: Sequence[Item],
        *,
        arrives_here: bool,
        here_counts: bool,
        none_of: Collection[str] = (),
    ) -> Sequence[Item]:
        values: dict[str, Any] = {
            "job_id": lease.job_id,
            "arrives_here": arrives_here,
            "studies": [item.study_instance_uid for item in items],
            "series": [item.series_instance_uid for item in items],
            "sops": [item.sop_instance_uid for item in items],
            "classes": [item.sop_class_uid for item in items],
        }
        with self._database.session() as session:
            connection = hold(session, lease)
            if none_of:
                dropped = {"job_id": lease.job_id, "studies": list(none_of)}
                connection.execute(DROP, dropped)
            connection.execute(RECORD, values)
            session.commit()
            if arrives_here and here_counts:
                # Checking files is slow: release the job's row before it begins.
                self._mark_here(session.connection(), lease.job_id)
                session.commit()
        return self.items(lease.job_id)

    @override
    def count_arrivals(self, job_id: UUID, *, here_counts: bool) -> ArrivalCounts:
        with self._database.session() as session:
            connection = session.connection()
            if here_counts:
                self._mark_here(connection, job_id)
            row = connection.execute(ARRIVALS, {"job_id": job_id}).mappings().one()
            session.commit()
        return ArrivalCounts(row["expected"], row["arrived"], int(row["size_bytes"]))

    @override
    def mark(self, lease: Lease, *, all_but: Collection[str]) -> None:
        with self._database.session() as session:
            hold(session, lease).execute(
                MARK_ALL_BUT, {"job_id": lease.job_id, "all_but": list(all_but)}
            )
            session.commit()

    @override
    def mark_these(self, lease: Lease, these: Collection[str]) -> None:
        with self._database.session() as session:
            hold(session, lease).execute(MARK, {"job_id": lease.job_id, "these": list(these)})
            session.commit()

    @override
    def unlisted(self, job_id: UUID, studies: Sequence[str], series: str) -> Mapping[str, Unlisted]:
        values = {"job_id": job_id, "studies": list(studies), "series": series}
        with self._database.session() as session:
            rows = session.connection().execute(UNLISTED, values).mappings()
            return {
                row["study_instance_uid"]: Unlisted(
                    row["since"], int(row["size_bytes"]), row["here"]
                )
                for row in rows
            }

    def _mark_here(self, connection: Connection, job_id: UUID) -> None:
        rows = connection.execute(INDEXED, {"job_id": job_id}).all()
        here = [row.id for row in rows if self._is_whole(row.path, row.size_bytes)]
        if here:
            connection.execute(MARK_HERE, {"ids": here})

    def _is_whole(self, path: str, size_bytes: int) -> bool:
        try:
            mark = self._files.mark(path)
        except (OSError, OutsideStorage):
            # A file that we cannot examine is not proved to be here.
            return False
        return mark is not None and mark.size_bytes == size_bytes
