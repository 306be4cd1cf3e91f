"""Earlier studies in the index, and the batches of their retrieves, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import text
from typing_extensions import override

from draw_qr_worker.adapters.delivery_queries import ROUTING
from draw_qr_worker.adapters.job_queries import hold
from draw_qr_worker.models import Cancelled, Lease, NewPriorBatch, RoutedStudy
from draw_qr_worker.ports.priors import PriorRepository
from draw_shared.db.retrieve_requests import (
    RequestedBatch,
    RequestedJob,
    add_retrieves,
    on_the_way,
)
from draw_shared.db.session import Database
from draw_shared.wording import message

PRIORITY: Final = 7
"""What people request goes first."""

STUDY: Final = text(
    """
    SELECT s.study_instance_uid, p.patient_id, p.issuer_of_patient_id AS issuer, s.study_date,
        s.study_time, EXISTS (SELECT FROM routed_priors r
            WHERE r.study_instance_uid = s.study_instance_uid) AS is_prior
    FROM studies s JOIN patients p ON p.id = s.patient_pk WHERE s.study_instance_uid = :uid
    """
)
REQUESTED: Final = text("SELECT EXISTS (SELECT FROM jobs WHERE id = :id)")
CANCELLED: Final = text("SELECT cancel_requested FROM jobs WHERE id = :id")
COUNTS: Final = text(
    "SELECT study_instance_uid, instance_count FROM studies WHERE study_instance_uid = ANY(:uids)"
)
MARK: Final = text(
    """
    INSERT INTO routed_priors (study_instance_uid, delivery_id)
    SELECT given.uid, :delivery_id FROM unnest(CAST(:uids AS text[])) AS given (uid)
    WHERE NOT EXISTS (SELECT FROM studies s WHERE s.study_instance_uid = given.uid)
    ON CONFLICT DO NOTHING
    """
)


class PostgresPriorRepository(PriorRepository):
    """The tables `studies`, `jobs` and `routed_priors`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def study(self, study_instance_uid: str) -> RoutedStudy | None:
        with self._database.session() as session:
            rows = session.connection().execute(STUDY, {"uid": study_instance_uid}).mappings()
            row = rows.first()
        return None if row is None else RoutedStudy(**row)

    @override
    def is_requested(self, batch_id: UUID) -> bool:
        with self._database.session() as session:
            return bool(session.connection().execute(REQUESTED, {"id": batch_id}).scalar_one())

    @override
    def instance_counts(self, study_instance_uids: Sequence[str]) -> Mapping[str, int]:
        with self._database.session() as session:
            rows = session.connection().execute(COUNTS, {"uids": list(study_instance_uids)})
            return {row.study_instance_uid: row.instance_count for row in rows}

    @override
    def request(self, lease: Lease, batch: NewPriorBatch) -> int:
        with self._database.session() as session:
            connection = hold(session, lease)
            if connection.execute(CANCELLED, {"id": lease.job_id}).scalar_one():
                # Nobody would follow the batch of a delivery that was given up meanwhile.
                raise Cancelled(message("cancelled by an operator"))
            others = on_the_way(connection, [each.key for each in batch.retrieves])
            new = [each for each in batch.retrieves if each.key not in others]
            if new:
                counts = {"items": len(new), "already_on_the_way": len(others)}
                add_retrieves(
                    connection,
                    [RequestedJob(uuid4(), each.key, each.parameters) for each in new],
                    RequestedBatch(batch.id, {**batch.parameters, **counts}),
                    node_id=batch.node_id,
                    priority=PRIORITY,
                    created_by=ROUTING,
                )
                uids = [each.study_instance_uid for each in new]
                values = {"uids": uids, "delivery_id": batch.delivery_id}
                connection.execute(MARK, values)
            session.commit()
        return len(others)
