"""Retrieve jobs in PostgreSQL, as operators request and watch them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.job_queries import (
    ABOUT_STUDY,
    ATTEMPTS,
    CANCEL,
    NODE_ACTIVE,
    SET_RETRIED,
    STATE_FOR_UPDATE,
    SUBJECT_STUDY,
    cursor_of,
    key_of,
)
from draw_api.adapters.job_waits import FACTS, wait_of
from draw_api.models.jobs import JobAttempt
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.retrieves import (
    Retrieve,
    RetrievedInstance,
    RetrieveOptions,
    RetrieveWithAttempts,
    item_of,
)
from draw_api.ports.retrieves import NewRetrieveRow, RetrieveRepository
from draw_shared.db.retrieve_requests import (
    RequestedBatch,
    RequestedJob,
    add_retrieves,
    on_the_way,
)

OURS: Final = "(j.kind = 'retrieve' OR j.kind = 'batch' AND j.parameters->>'of' = 'retrieve')"
COLUMNS: Final = f"""
    SELECT j.*, n.name AS node_name, children.states AS children, children.sums,
        {ABOUT_STUDY},
        coalesce(j.parameters->'about'->>'patient_id', '') AS patient_id,
        coalesce(j.parameters->'about'->>'series_description', '') AS series_description,
        {FACTS}
    FROM jobs j LEFT JOIN remote_nodes n ON n.id = j.node_id {SUBJECT_STUDY}
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(s.state, s.number) AS states,
            jsonb_build_object('expected', sum(s.expected), 'arrived', sum(s.arrived),
                'already_here', sum(s.already_here), 'completed', sum(s.completed),
                'failed', sum(s.failed), 'warning', sum(s.warning), 'bytes', sum(s.bytes),
                'bytes_per_second', sum(s.rate), 'objects_per_second', sum(s.objects)) AS sums
        FROM (SELECT c.state, count(*) AS number,
                sum((c.progress->>'expected')::bigint) AS expected,
                sum((c.progress->>'arrived')::bigint) AS arrived,
                sum((c.progress->>'already_here')::bigint) AS already_here,
                sum((c.progress->>'completed')::bigint) AS completed,
                sum((c.progress->>'failed')::bigint) AS failed,
                sum((c.progress->>'warning')::bigint) AS warning,
                sum((c.progress->>'bytes')::bigint) AS bytes,
                sum((c.progress->>'bytes_per_second')::bigint)
                    FILTER (WHERE c.finished_at IS NULL) AS rate,
                sum((c.progress->>'objects_per_second')::numeric)
                    FILTER (WHERE c.finished_at IS NULL) AS objects
            FROM jobs c WHERE c.parent_id = j.id GROUP BY c.state) AS s
    ) AS children ON j.kind = 'batch'
"""  # noqa: S608 - parts of our own
RETRIEVES: Final = text(
    f"""
    {COLUMNS}
    WHERE {OURS}
        AND (CAST(:parent_id AS uuid) IS NULL AND j.parent_id IS NULL OR j.parent_id = :parent_id)
        AND (CAST(:state AS text) IS NULL OR j.state = :state)
        AND (CAST(:node_id AS bigint) IS NULL OR j.node_id = :node_id)
        AND (CAST(:before AS timestamptz) IS NULL
            OR (j.created_at, j.id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))
    ORDER BY j.created_at DESC, j.id DESC LIMIT :limit
    """
)
RETRIEVE: Final = text(f"{COLUMNS} WHERE {OURS} AND j.id = :id")
LIVE: Final = text(
    f"""
    {COLUMNS}
    WHERE {OURS} AND (j.finished_at IS NULL OR j.finished_at > now() - interval '60 seconds')
    ORDER BY j.parent_id IS NOT NULL, j.state NOT IN ('running', 'cancelling'),
        j.created_at DESC, j.id DESC LIMIT :limit
    """
)
PULL_FORWARD: Final = text(
    """
    WITH held AS (
        SELECT id, state = 'scheduled' AND (CAST(:not_before AS timestamptz) IS NULL
                OR not_before > CAST(:not_before AS timestamptz)) AS earlier,
            parameters ? 'windows' AND (CAST(:windows AS jsonb) = '[]'
                OR NOT parameters -> 'windows' @> CAST(:windows AS jsonb)) AS wider,
            state = 'waiting' AS waits
        FROM jobs WHERE id = ANY(:ids) AND state IN ('scheduled', 'queued', 'waiting')
            AND NOT cancel_requested
        ORDER BY id FOR UPDATE
    )
    UPDATE jobs SET priority = least(priority, :priority),
        state = CASE WHEN earlier AND CAST(:not_before AS timestamptz) IS NULL OR wider AND waits
            THEN 'queued' ELSE state END,
        not_before = CASE WHEN earlier THEN CAST(:not_before AS timestamptz)
            WHEN wider AND waits THEN NULL ELSE not_before END,
        error = CASE WHEN wider AND waits THEN '' ELSE error END,
        parameters = CASE WHEN NOT wider THEN parameters
            WHEN CAST(:windows AS jsonb) = '[]' THEN parameters - 'windows'
            ELSE jsonb_set(parameters, '{windows}',
                (parameters -> 'windows') || CAST(:windows AS jsonb)) END
    FROM held WHERE jobs.id = held.id AND (earlier OR wider OR priority > :priority)
    RETURNING jobs.id
    """
)
TAKE_OVER: Final = text(
    """
    INSERT INTO retrieve_items (job_id, study_instance_uid, series_instance_uid,
        sop_instance_uid, sop_class_uid, arrives_here, arrived_at)
    SELECT given.job_id, i.study_instance_uid, i.series_instance_uid, i.sop_instance_uid,
        i.sop_class_uid, i.arrives_here,
        CASE WHEN NOT i.arrives_here OR EXISTS (SELECT FROM instances n
            WHERE n.sop_instance_uid = i.sop_instance_uid) THEN i.arrived_at END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:retried AS uuid[])) AS given (job_id, retried)
    JOIN retrieve_items i ON i.job_id = given.retried
    """
)
INSTANCES: Final = text(
    """
    SELECT i.id, i.study_instance_uid, i.series_instance_uid, i.sop_instance_uid, i.arrived_at
    FROM retrieve_items i
    WHERE i.job_id IN (SELECT id FROM jobs WHERE id = :id OR parent_id = :id)
        AND (NOT :missing OR i.arrived_at IS NULL) AND i.id > :after
    ORDER BY i.id LIMIT :limit
    """
)
PARAMETERS: Final = text("SELECT parameters FROM jobs WHERE id = :id")
UNSUCCESSFUL: Final = text(
    "SELECT id FROM jobs WHERE parent_id = :id AND finished_at IS NOT NULL AND state <> 'complete'"
    " ORDER BY created_at, id"
)
PRIORITISE: Final = text(
    "UPDATE jobs SET priority = :priority"
    " WHERE (id = :id OR parent_id = :id) AND finished_at IS NULL"
)


class PostgresRetrieveRepository(RetrieveRepository):
    """The tables `jobs` and `retrieve_items`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def node_is_active(self, node_id: int) -> bool | None:
        row = self._connection.execute(NODE_ACTIVE, {"node_id": node_id}).first()
        return None if row is None else bool(row.active)

    @override
    def on_the_way(self, subjects: Collection[str]) -> Mapping[str, UUID]:
        return on_the_way(self._connection, subjects)

    @override
    def pull_forward(
        self, job_ids: Collection[UUID], options: RetrieveOptions, windows: Sequence[Any]
    ) -> Sequence[UUID]:
        values = {
            "ids": list(job_ids),
            "priority": options.priority,
            "not_before": options.not_before,
            "windows": json.dumps(list(windows)),
        }
        return [row.id for row in self._connection.execute(PULL_FORWARD, values)]

    @override
    def add(
        self,
        rows: Sequence[NewRetrieveRow],
        options: RetrieveOptions,
        created_by: str,
        *,
        batch: Mapping[str, Any] | None,
    ) -> tuple[UUID, Sequence[UUID]]:
        ids = [uuid4() for _ in rows]
        made = None if batch is None else RequestedBatch(uuid4(), batch)
        add_retrieves(
            self._connection,
            [
                RequestedJob(job_id, row.subject, _to_row(row))
                for job_id, row in zip(ids, rows, strict=True)
            ],
            made,
            node_id=options.node_id,
            priority=options.priority,
            created_by=created_by,
            not_before=options.not_before,
        )
        retried = [(job_id, row.retry_of) for job_id, row in zip(ids, rows, strict=True)]
        pairs = [(new, old) for new, old in retried if old is not None]
        if pairs:
            self._connection.execute(
                TAKE_OVER,
                {"ids": [new for new, _ in pairs], "retried": [old for _, old in pairs]},
            )
        return made.id if made else ids[0], ids

    @override
    def retrieves(
        self,
        *,
        state: str | None,
        node_id: int | None,
        parent_id: UUID | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Retrieve]:
        before, before_id = key_of(cursor) if cursor is not None else (None, None)
        rows = self._connection.execute(
            RETRIEVES,
            {
                "state": state,
                "node_id": node_id,
                "parent_id": parent_id,
                "before": before,
                "before_id": before_id,
                "limit": limit + 1,
            },
        ).mappings()
        return page_of([(cursor_of(row), retrieve_of(row)) for row in rows], limit)

    def live(self, limit: int) -> list[Retrieve]:
        """Return the retrieves that are running or have just ended."""
        rows = self._connection.execute(LIVE, {"limit": limit}).mappings()
        return [retrieve_of(row) for row in rows]

    @override
    def retrieve(self, job_id: UUID) -> RetrieveWithAttempts | None:
        row = self._connection.execute(RETRIEVE, {"id": job_id}).mappings().first()
        if row is None:
            return None
        attempts = self._connection.execute(ATTEMPTS, {"id": job_id}).mappings()
        history = [JobAttempt.model_validate(attempt) for attempt in attempts]
        return RetrieveWithAttempts.model_validate(_to_fields(row) | {"history": history})

    @override
    def instances(
        self, job_id: UUID, *, missing: bool, cursor: str | None, limit: int
    ) -> Page[RetrievedInstance]:
        after = decode_cursor(cursor, (int,))[0] if cursor is not None else 0
        rows = self._connection.execute(
            INSTANCES, {"id": job_id, "missing": missing, "after": after, "limit": limit + 1}
        ).mappings()
        return page_of(
            [(encode_cursor(row["id"]), RetrievedInstance.model_validate(row)) for row in rows],
            limit,
        )

    @override
    def parameters(self, job_id: UUID) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._connection.execute(PARAMETERS, {"id": job_id}).scalar_one()
        return found

    @override
    def unsuccessful(self, job_id: UUID) -> Sequence[UUID]:
        return [row.id for row in self._connection.execute(UNSUCCESSFUL, {"id": job_id})]

    @override
    def set_retried(self, job_ids: Sequence[UUID], by: UUID) -> None:
        self._connection.execute(SET_RETRIED, {"ids": list(job_ids), "new": str(by)})

    @override
    def cancel(self, job_id: UUID) -> str | None:
        state: str | None = self._connection.execute(STATE_FOR_UPDATE, {"id": job_id}).scalar()
        if state is not None:
            self._connection.execute(CANCEL, {"id": job_id})
        return state

    @override
    def prioritise(self, job_id: UUID, priority: int) -> None:
        self._connection.execute(PRIORITISE, {"id": job_id, "priority": priority})


def retrieve_of(row: RowMapping) -> Retrieve:
    """Return the job in a row."""
    return Retrieve.model_validate(_to_fields(row))


def _to_row(row: NewRetrieveRow) -> dict[str, Any]:
    return dict(row.parameters) | ({"retry_of": str(row.retry_of)} if row.retry_of else {})


def _to_fields(row: RowMapping) -> dict[str, Any]:
    parameters = row["parameters"]
    batch = row["kind"] == "batch"
    return {
        **row,
        "item": item_of(parameters),
        "method": parameters.get("method", "auto"),
        "destination": parameters.get("destination", ""),
        "retry_of": parameters.get("retry_of"),
        "children": row["children"] or {},
        "wait": wait_of(row, row["children"]),
        "progress": _sum_progress(row["sums"]) if batch else row["progress"],
        "result": ({"already_on_the_way": parameters.get("already_on_the_way", 0)} if batch else {})
        | row["result"],
    }


def _sum_progress(sums: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the progress of a batch from the sums of its children."""
    if not sums:
        return {}
    found = {name: value or 0 for name, value in sums.items()}
    remaining = max(0, found["expected"] - found["arrived"])
    rate = float(found["objects_per_second"])
    return found | {
        "remaining": remaining,
        "eta_seconds": round(remaining / rate, 1) if remaining and rate else None,
    }
