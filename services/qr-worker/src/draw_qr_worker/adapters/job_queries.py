"""Jobs in PostgreSQL: claims, leases, fences, and the sweep that recovers lost jobs.

All times are the database's, so the clocks of workers do not matter. Every write of an execution
carries its fence and requires that the job still runs; if it changes no row, the lease is lost
(LostLease).
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, RowMapping, TextClause, text
from sqlmodel import Session
from typing_extensions import override

from draw_qr_worker.adapters.node_queries import (
    CIRCUIT_OPEN,
    AfterRefusal,
    lower_concurrency,
    read_nodes,
)
from draw_qr_worker.models import (
    TESTS,
    ClaimedJob,
    JobOutcome,
    JobState,
    Lease,
    LostLease,
    RemoteNode,
)
from draw_qr_worker.ports.jobs import JobQueue
from draw_shared.db.session import Database
from draw_shared.wording import message

CLAIM_LOCK: Final = 0x4452414A
"""Key of the advisory lock that serializes claims.

Without it the number of a node's running jobs could change between counting and claiming.
"""

MAX_LOST_ATTEMPTS: Final = 20
"""After this many dead workers the job itself is assumed to kill them."""

Usable = Callable[[list[RemoteNode], Mapping[int, int], datetime], tuple[list[int], list[int]]]
ClosedUntil = Callable[[RemoteNode, datetime], datetime | None]

RUNNING_PER_NODE: Final = text(
    """
    SELECT node_id, count(*) AS running FROM jobs
    WHERE state IN ('running', 'cancelling') AND node_id IS NOT NULL AND lease_until IS NOT NULL
    GROUP BY node_id
    """
)
CLAIM: Final = text(
    """
    WITH chosen AS (
        SELECT id FROM jobs
        WHERE state = 'queued' AND NOT cancel_requested AND kind <> 'batch'
            AND (CAST(:job_id AS uuid) IS NULL OR id = :job_id)
            AND (node_id IS NULL OR node_id = ANY(:work)
                OR (kind = ANY(:test_kinds) AND node_id = ANY(:tests)))
        ORDER BY priority, created_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET state = 'running', fence = fence + 1, attempts = attempts + 1,
        lease_owner = :worker, lease_until = now() + make_interval(secs => :lease_seconds),
        started_at = coalesce(started_at, now()), not_before = NULL, error = ''
    FROM chosen WHERE jobs.id = chosen.id
    RETURNING jobs.id, kind, node_id, parameters, fence, attempts, created_by,
        clock_timestamp() AS claimed_at,
        (SELECT count(*) FROM job_attempts a WHERE a.job_id = jobs.id
            AND a.outcome IN ('retry', 'refused')) AS retries_used
    """
)
BEGIN_ATTEMPT: Final = text(
    "INSERT INTO job_attempts (job_id, number, fence, worker)"
    " VALUES (:job_id, :number, :fence, :worker)"
)
RENEW: Final = text(
    """
    UPDATE jobs SET lease_until = now() + make_interval(secs => :lease_seconds),
        state = CASE WHEN cancel_requested THEN 'cancelling' ELSE state END
    WHERE id = :job_id AND fence = :fence AND state IN ('running', 'cancelling')
    RETURNING cancel_requested
    """
)
HOLD: Final = text(
    "SELECT id FROM jobs WHERE id = :job_id AND fence = :fence"
    " AND state IN ('running', 'cancelling') FOR UPDATE"
)
REPORT: Final = text(
    "UPDATE jobs SET progress = progress || CAST(:progress AS jsonb) WHERE id = :job_id"
)
FINISH: Final = text(
    """
    UPDATE jobs SET state = :state, result = CAST(:result AS jsonb), error = :error,
        finished_at = now(), lease_owner = '', lease_until = NULL
    WHERE id = :job_id
    """
)
# An image-level retrieve says nothing about the rest of its series, and neither does a
# series-level one about the rest of its study.
PROVE: Final = text(
    """
    INSERT INTO proved_arrivals (uid, job_id)
    SELECT DISTINCT k.uid, j.id
    FROM jobs j JOIN retrieve_items i ON i.job_id = j.id AND i.arrives_here
    CROSS JOIN LATERAL (VALUES (i.series_instance_uid), (CASE
        WHEN coalesce(j.parameters->>'series_instance_uid', '') = ''
        THEN i.study_instance_uid ELSE '' END)) AS k (uid)
    WHERE j.id = :job_id AND j.kind = 'retrieve' AND j.state = 'complete' AND k.uid <> ''
        AND coalesce(j.parameters->'sop_instance_uids', '[]') = '[]'
    ORDER BY k.uid
    ON CONFLICT (uid) DO UPDATE SET job_id = EXCLUDED.job_id, proved_at = now()
    """
)
RETRY: Final = text(
    """
    UPDATE jobs SET state = 'waiting', error = :error, lease_owner = '', lease_until = NULL,
        not_before = now() + make_interval(secs => :delay_seconds)
    WHERE id = :job_id
    """
)
POSTPONE: Final = text(
    """
    UPDATE jobs SET state = 'waiting', error = :error, lease_owner = '', lease_until = NULL,
        not_before = :until
    WHERE id = :job_id
    """
)
RELEASE: Final = text(
    "UPDATE jobs SET state = 'queued', lease_owner = '', lease_until = NULL WHERE id = :job_id"
)
REQUEUE: Final = text(
    """
    UPDATE jobs SET state = 'queued', error = :error, lease_owner = '', lease_until = NULL
    WHERE id = :job_id
    """
)
END_ATTEMPT: Final = text(
    """
    UPDATE job_attempts SET finished_at = now(), outcome = :outcome, error = :error,
        progress = (SELECT progress FROM jobs WHERE id = :job_id)
    WHERE job_id = :job_id AND fence = :fence
    """
)
CONCLUDE_BATCHES_TEXT: Final = """
    UPDATE jobs AS batch SET finished_at = now(),
        state = CASE WHEN children.complete = children.total THEN 'complete'
            WHEN children.complete + children.unproved = children.total THEN 'unproved'
            WHEN batch.cancel_requested OR children.cancelled = children.total THEN 'cancelled'
            WHEN children.failed = children.total THEN 'failed' ELSE 'partial' END
    FROM (SELECT b.id, count(*) AS total,
            count(*) FILTER (WHERE c.finished_at IS NULL) AS unfinished,
            count(*) FILTER (WHERE c.state = 'complete') AS complete,
            count(*) FILTER (WHERE c.state = 'unproved') AS unproved,
            count(*) FILTER (WHERE c.state = 'failed') AS failed,
            count(*) FILTER (WHERE c.state = 'cancelled') AS cancelled
        FROM jobs b JOIN jobs c ON c.parent_id = b.id
        WHERE b.kind = 'batch' AND b.state IN ('running', 'cancelling') {condition}
        GROUP BY b.id) AS children
    WHERE batch.id = children.id AND children.unfinished = 0
    """
CONCLUDE_BATCHES: Final = text(CONCLUDE_BATCHES_TEXT.format(condition=""))
CONCLUDE_BATCH: Final = text(
    CONCLUDE_BATCHES_TEXT.format(
        condition="AND b.id = (SELECT parent_id FROM jobs WHERE id = :job_id)"
    )
)
"""Concludes one job's batch; if the last two children miss each other, the sweep concludes it."""
END_LOST_ATTEMPTS: Final = text(
    """
    UPDATE job_attempts SET finished_at = now(), outcome = 'lost',
        error = 'the worker stopped without a word'
    WHERE finished_at IS NULL AND job_id = ANY(:job_ids)
    """
)
TAKE_BACK: Final = text(
    """
    WITH expired AS (
        SELECT id FROM jobs WHERE state IN ('running', 'cancelling') AND lease_until < now()
        FOR UPDATE SKIP LOCKED
    ), counted AS (
        SELECT e.id, (SELECT count(*) FROM job_attempts a
            WHERE a.job_id = e.id AND a.outcome = 'lost') + 1 AS lost FROM expired e
    )
    UPDATE jobs SET fence = fence + 1, lease_owner = '', lease_until = NULL,
        state = CASE WHEN cancel_requested THEN 'cancelled'
            WHEN counted.lost >= :most THEN 'failed' ELSE 'queued' END,
        finished_at = CASE WHEN cancel_requested OR counted.lost >= :most THEN now() END,
        error = CASE WHEN counted.lost >= :most
            THEN 'every worker that tried this job died' ELSE error END
    FROM counted WHERE jobs.id = counted.id
    RETURNING jobs.id
    """
)
CANCEL_IDLE: Final = text(
    """
    UPDATE jobs SET state = 'cancelled', finished_at = now(), not_before = NULL
    WHERE id IN (SELECT id FROM jobs WHERE cancel_requested AND kind <> 'batch'
        AND state IN ('scheduled', 'queued', 'waiting') FOR UPDATE SKIP LOCKED)
    """
)
WAKE_DUE: Final = text(
    """
    UPDATE jobs SET state = 'queued', not_before = NULL
    WHERE id IN (SELECT id FROM jobs WHERE state IN ('scheduled', 'waiting')
        AND (not_before IS NULL OR not_before <= now()) FOR UPDATE SKIP LOCKED)
    """
)
PARK: Final = text(
    """
    UPDATE jobs SET state = 'waiting', not_before = :until, error = :reason
    WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' AND node_id = :node_id
        AND NOT kind = ANY(:test_kinds) FOR UPDATE SKIP LOCKED)
    """
)


def hold(session: Session, lease: Lease) -> Connection:
    """Lock the job for this transaction, so that only its owner writes in it.

    Raises:
        LostLease: another worker holds the job, or the job has ended.
    """
    connection = session.connection()
    held = connection.execute(HOLD, {"job_id": lease.job_id, "fence": lease.fence}).first()
    if held is None:
        raise LostLease(
            message(
                "job %(job_id)s is no longer held with fence %(fence)s",
                job_id=lease.job_id,
                fence=lease.fence,
            )
        )
    return connection


class PostgresJobQueue(JobQueue):
    """Claims, updates and sweeps rows of the table `jobs`."""

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        lease_seconds: float,
        usable: Usable,
        closed_until: ClosedUntil,
        after_refusal: AfterRefusal,
        zone: tzinfo,
    ) -> None:
        self._database = database
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._usable = usable
        self._closed_until = closed_until
        self._after_refusal = after_refusal
        self._zone = zone

    @override
    def claim(self, job_id: UUID | None) -> ClaimedJob | None:
        with self._database.session() as session:
            connection = session.connection()
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CLAIM_LOCK})
            nodes = read_nodes(connection)
            work, tests = self._usable(nodes, _count_running(connection), self._now(connection))
            row = (
                connection.execute(
                    CLAIM,
                    {
                        "job_id": job_id,
                        "work": work,
                        "tests": tests,
                        "test_kinds": list(TESTS),
                        "worker": self._worker,
                        "lease_seconds": self._lease_seconds,
                    },
                )
                .mappings()
                .first()
            )
            if row is None:
                return None
            connection.execute(
                BEGIN_ATTEMPT,
                {
                    "job_id": row["id"],
                    "number": row["attempts"],
                    "fence": row["fence"],
                    "worker": self._worker,
                },
            )
            session.commit()
        return _claimed_job(row, {node.id: node for node in nodes})

    @override
    def renew(self, lease: Lease) -> bool:
        with self._database.session() as session:
            row = (
                session.connection()
                .execute(
                    RENEW,
                    {
                        "job_id": lease.job_id,
                        "fence": lease.fence,
                        "lease_seconds": self._lease_seconds,
                    },
                )
                .first()
            )
            session.commit()
        if row is None:
            raise LostLease(
                message(
                    "job %(job_id)s is no longer held with fence %(fence)s",
                    job_id=lease.job_id,
                    fence=lease.fence,
                )
            )
        return bool(row[0])

    @override
    def report(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        self._write(lease, REPORT, {"progress": json.dumps(dict(progress))})

    @override
    def finish(self, lease: Lease, outcome: JobOutcome) -> None:
        values = {
            "state": str(outcome.state),
            "result": json.dumps(dict(outcome.result)),
            "error": outcome.error,
        }
        self._write(lease, FINISH, values, ended=str(outcome.state), error=outcome.error)

    @override
    def retry(
        self, lease: Lease, *, delay_seconds: float, error: str, outcome: str = "retry"
    ) -> None:
        values = {"delay_seconds": delay_seconds, "error": error}
        self._write(lease, RETRY, values, ended=outcome, error=error)

    @override
    def release(self, lease: Lease) -> None:
        self._write(lease, RELEASE, {}, ended="released")

    @override
    def postpone(self, lease: Lease, *, until: datetime, reason: str) -> None:
        values = {"until": until, "error": reason}
        self._write(lease, POSTPONE, values, ended="postponed", error=reason)

    @override
    def requeue_congested(self, job: ClaimedJob, reason: str) -> None:
        with self._database.session() as session:
            connection = hold(session, job.lease)
            if job.node is not None:
                lower_concurrency(connection, job.node.id, reason, self._after_refusal)
            connection.execute(REQUEUE, {"job_id": job.lease.job_id, "error": reason})
            _end_attempt(connection, job.lease, "congested", reason)
            session.commit()

    def sweep(self) -> int:
        """Wake due jobs, take jobs back from dead workers, and park jobs whose node is closed.

        Returns how many jobs were taken back from dead workers.
        """
        with self._database.session() as session:
            connection = session.connection()
            taken = [row[0] for row in connection.execute(TAKE_BACK, {"most": MAX_LOST_ATTEMPTS})]
            if taken:
                connection.execute(END_LOST_ATTEMPTS, {"job_ids": taken})
            connection.execute(CANCEL_IDLE)
            connection.execute(WAKE_DUE)
            now = self._now(connection)
            for node in read_nodes(connection):
                until = self._closed_until(node, now)
                if until is not None and until > now:
                    self._park(connection, node, until)
            connection.execute(CONCLUDE_BATCHES)
            session.commit()
        return len(taken)

    def _park(self, connection: Connection, node: RemoteNode, until: datetime) -> None:
        reason = (
            CIRCUIT_OPEN
            if node.circuit.open_until is not None
            else message("the node's window is closed")
        )
        connection.execute(
            PARK,
            {"node_id": node.id, "until": until, "reason": reason, "test_kinds": list(TESTS)},
        )

    def _write(
        self,
        lease: Lease,
        statement: TextClause,
        values: Mapping[str, Any],
        *,
        ended: str = "",
        error: str = "",
    ) -> None:
        with self._database.session() as session:
            connection = hold(session, lease)
            connection.execute(statement, {"job_id": lease.job_id, **values})
            if ended:
                _end_attempt(connection, lease, ended, error)
                if ended == JobState.COMPLETE:
                    connection.execute(PROVE, {"job_id": lease.job_id})
                connection.execute(CONCLUDE_BATCH, {"job_id": lease.job_id})
            session.commit()

    def _now(self, connection: Connection) -> datetime:
        # Not now(): the transaction may have begun long before it got the claim lock.
        moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(self._zone)


def _end_attempt(connection: Connection, lease: Lease, outcome: str, error: str) -> None:
    values = {"job_id": lease.job_id, "fence": lease.fence, "outcome": outcome, "error": error}
    connection.execute(END_ATTEMPT, values)


def _count_running(connection: Connection) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(RUNNING_PER_NODE)}


def _claimed_job(row: RowMapping, nodes: Mapping[int, RemoteNode]) -> ClaimedJob:
    return ClaimedJob(
        lease=Lease(row["id"], row["fence"]),
        kind=row["kind"],
        attempt=row["attempts"],
        retries_used=row["retries_used"],
        node=nodes.get(row["node_id"]),
        created_by=row["created_by"],
        parameters=row["parameters"],
        claimed_at=row["claimed_at"],
    )
