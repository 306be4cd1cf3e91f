"""Jobs in PostgreSQL, as operators read, add and cancel them; workers have their own queries."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.job_waits import FACTS, wait_of
from draw_api.models.jobs import Job, JobAttempt, JobWithAttempts, NewJob
from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.ports.jobs import JobRepository

NODE_ACTIVE: Final = text("SELECT active FROM remote_nodes WHERE id = :node_id FOR SHARE")
ADD: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, priority, not_before, parameters, created_by)
    VALUES (gen_random_uuid(), :kind, :state, :node_id, :priority, :not_before,
        CAST(:parameters AS jsonb), :created_by)
    RETURNING id
    """
)
ABOUT_STUDY: Final = """
    coalesce(nullif(subject_study.patient_name, ''), j.parameters->'about'->>'patient_name', '')
        AS patient_name,
    coalesce(subject_study.description, j.parameters->'about'->>'study_description', '')
        AS study_description,
    coalesce(subject_study.study_date, CASE WHEN j.parameters->'about'->>'study_date'
        ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN (j.parameters->'about'->>'study_date')::date END)
        AS study_date
"""
SUBJECT_STUDY: Final = """
    LEFT JOIN LATERAL (
        SELECT s.description, s.study_date,
            CASE WHEN p.ambiguous THEN '' ELSE p.name END AS patient_name
        FROM studies s JOIN patients p ON p.id = s.patient_pk
        WHERE s.study_instance_uid = j.parameters->>'study_instance_uid' OFFSET 0
    ) AS subject_study ON true
"""
"""Whose study a job is about: as the index has it, else as the query that found it has it."""
COLUMNS: Final = f"""
    SELECT j.*, n.name AS node_name, {ABOUT_STUDY},
        CASE WHEN j.kind = 'batch' THEN coalesce(j.parameters->>'of', '') ELSE '' END AS batch_of,
        {FACTS}
    FROM jobs j LEFT JOIN remote_nodes n ON n.id = j.node_id {SUBJECT_STUDY}
"""  # noqa: S608 - parts of our own
ADD_ECHOES: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, priority, parameters, created_by)
    SELECT gen_random_uuid(), 'echo', 'queued', n.id, :priority, '{}', :created_by
    FROM remote_nodes n
    WHERE n.active AND NOT EXISTS (SELECT FROM jobs j
        WHERE j.node_id = n.id AND j.kind = 'echo' AND j.finished_at IS NULL
            AND j.state IN ('queued', 'running'))
    ORDER BY n.id
    RETURNING id
    """
)
JOBS: Final = text(
    f"""
    {COLUMNS}
    WHERE (CAST(:state AS text) IS NULL OR j.state = :state)
        AND (CAST(:node_id AS bigint) IS NULL OR j.node_id = :node_id)
        AND (CAST(:before AS timestamptz) IS NULL
            OR (j.created_at, j.id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))
    ORDER BY j.created_at DESC, j.id DESC LIMIT :limit
    """
)
JOB: Final = text(f"{COLUMNS} WHERE j.id = :id")
# A test of a node is over in a moment: one that waits says nothing that its node does not say.
NEEDY: Final = """
    j.state = s.state AND j.created_at > :created_after AND j.result->>'retried_by' IS NULL
        AND NOT (j.state = 'waiting' AND j.kind IN ('echo', 'probe'))
"""
NEEDY_JOBS: Final = text(
    f"""
    {COLUMNS}
    WHERE j.id = ANY (ARRAY(SELECT newest.id FROM unnest(CAST(:states AS text[])) AS s (state)
        CROSS JOIN LATERAL (SELECT j.id, j.created_at FROM jobs j WHERE {NEEDY}
            ORDER BY j.created_at DESC LIMIT :limit) newest
        ORDER BY newest.created_at DESC LIMIT :limit))
    ORDER BY j.created_at DESC, j.id DESC
    """  # noqa: S608 - parts of our own
)
NUMBERS: Final = text(
    f"""
    SELECT s.state, (SELECT count(*) FROM (SELECT FROM jobs j
        WHERE {NEEDY} LIMIT :most) c) AS number
    FROM unnest(CAST(:states AS text[])) AS s (state)
    """  # noqa: S608 - parts of our own
)
"""How many recent jobs of these states need somebody, up to a limit."""
SET_RETRIED: Final = text(
    "UPDATE jobs SET result = result || jsonb_build_object('retried_by', CAST(:new AS text))"
    " WHERE id = ANY(CAST(:ids AS uuid[]))"
)
ATTEMPTS: Final = text("SELECT * FROM job_attempts WHERE job_id = :id ORDER BY number")
# As the worker does: first the node, then its jobs. One job is tried; its result decides on.
END_SPARING: Final = text(
    """
    UPDATE remote_nodes SET circuit = circuit || jsonb_build_object('open_until', now())
    WHERE id IN (SELECT node_id FROM jobs WHERE id = :id OR parent_id = :id)
        AND (circuit ->> 'open_until')::timestamptz > now()
    """
)
HASTEN: Final = text(
    """
    UPDATE jobs SET state = 'queued', not_before = NULL
    WHERE (id = :id OR parent_id = :id) AND state = 'waiting'
    """
)
STATE_FOR_UPDATE: Final = text("SELECT state FROM jobs WHERE id = :id FOR UPDATE")
CANCEL: Final = text(
    """
    UPDATE jobs SET cancel_requested = true,
        state = CASE WHEN state IN ('scheduled', 'queued', 'waiting') THEN 'cancelled'
            WHEN state = 'running' THEN 'cancelling' ELSE state END,
        finished_at = CASE WHEN state IN ('scheduled', 'queued', 'waiting') THEN now() END,
        not_before = NULL
    WHERE (id = :id OR parent_id = :id) AND finished_at IS NULL
    """
)
"""Cancels a batch together with its children."""


class PostgresJobRepository(JobRepository):
    """The table `jobs`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def node_is_active(self, node_id: int) -> bool | None:
        row = self._connection.execute(NODE_ACTIVE, {"node_id": node_id}).first()
        return None if row is None else bool(row.active)

    @override
    def add(self, job: NewJob, created_by: str) -> UUID:
        values = {
            "kind": job.kind,
            "state": "queued" if job.not_before is None else "scheduled",
            "node_id": job.node_id,
            "priority": job.priority,
            "not_before": job.not_before,
            "parameters": json.dumps(
                job.model_dump(mode="json", exclude={"kind", "node_id", "priority", "not_before"})
            ),
            "created_by": created_by,
        }
        job_id: UUID = self._connection.execute(ADD, values).scalar_one()
        return job_id

    @override
    def add_echoes(self, priority: int, created_by: str) -> Sequence[UUID]:
        asked = {"priority": priority, "created_by": created_by}
        return self._connection.execute(ADD_ECHOES, asked).scalars().all()

    @override
    def jobs(
        self, state: str | None, node_id: int | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        before, before_id = key_of(cursor) if cursor is not None else (None, None)
        rows = self._connection.execute(
            JOBS,
            {
                "state": state,
                "node_id": node_id,
                "before": before,
                "before_id": before_id,
                "limit": limit + 1,
            },
        ).mappings()
        found = [
            (cursor_of(row), Job.model_validate({**row, "wait": wait_of(row)})) for row in rows
        ]
        return page_of(found, limit)

    @override
    def needy(self, states: Sequence[str], since: datetime, most: int) -> Sequence[Job]:
        asked = {"states": list(states), "created_after": since, "limit": most}
        rows = self._connection.execute(NEEDY_JOBS, asked).mappings()
        return [Job.model_validate({**row, "wait": wait_of(row)}) for row in rows]

    @override
    def set_retried(self, job_ids: Sequence[UUID], by: UUID) -> None:
        self._connection.execute(SET_RETRIED, {"ids": list(job_ids), "new": str(by)})

    @override
    def number(self, states: Sequence[str], since: datetime, most: int) -> dict[str, int]:
        asked = {"states": list(states), "created_after": since, "most": most}
        return {row.state: row.number for row in self._connection.execute(NUMBERS, asked)}

    @override
    def job(self, job_id: UUID) -> JobWithAttempts | None:
        row = self._connection.execute(JOB, {"id": job_id}).mappings().first()
        if row is None:
            return None
        attempts = self._connection.execute(ATTEMPTS, {"id": job_id}).mappings()
        history = [JobAttempt.model_validate(attempt) for attempt in attempts]
        return JobWithAttempts.model_validate({**row, "history": history, "wait": wait_of(row)})

    @override
    def hasten(self, job_id: UUID) -> None:
        self._connection.execute(END_SPARING, {"id": job_id})
        self._connection.execute(HASTEN, {"id": job_id})

    @override
    def cancel(self, job_id: UUID) -> str | None:
        state: str | None = self._connection.execute(STATE_FOR_UPDATE, {"id": job_id}).scalar()
        if state is not None:
            self._connection.execute(CANCEL, {"id": job_id})
        return state


def cursor_of(row: RowMapping) -> str:
    """Return the cursor that continues after a job."""
    return encode_cursor(row["created_at"].isoformat(), str(row["id"]))


def key_of(cursor: str) -> tuple[datetime, UUID]:
    """Return the creation time and id of the job before a cursor."""
    moment, job_id = decode_cursor(cursor, (str, str))
    try:
        return datetime.fromisoformat(str(moment)), UUID(str(job_id))
    except ValueError:
        raise foreign_cursor() from None
