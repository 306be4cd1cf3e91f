"""Makes the jobs of retrieves, alone or as a batch, and finds those that are on the way.

Used by the API, for people and schedules, and by the worker, for rules.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

ASKING_LOCK: Final = 0x44524152
"""Key of the advisory lock that serializes requests for retrieves.

Of two equal requests at the same time, the second one then finds the first.
"""
LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
ON_THE_WAY: Final = text(
    """
    SELECT DISTINCT ON (subject) subject, id FROM jobs
    WHERE finished_at IS NULL AND subject <> '' AND subject = ANY(:subjects)
        AND NOT cancel_requested
    ORDER BY subject, state = 'scheduled', not_before NULLS FIRST, priority, created_at
    """
)
"""If several jobs have the same subject, the one that begins first."""
ADD: Final = text(
    """
    INSERT INTO jobs (id, kind, subject, state, node_id, parent_id, priority, not_before,
        parameters, created_by, created_at)
    SELECT given.id, 'retrieve', given.subject, :state, :node_id, :parent_id, :priority,
        :not_before, CAST(given.parameters AS jsonb), :created_by,
        clock_timestamp() + given.position * interval '1 microsecond'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:subjects AS text[]), CAST(:parameters AS text[]))
        WITH ORDINALITY AS given (id, subject, parameters, position)
    """
)
ADD_BATCH: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, priority, not_before, parameters, created_by,
        started_at)
    VALUES (:id, 'batch', 'running', :node_id, :priority, :not_before,
        CAST(:parameters AS jsonb), :created_by, now())
    """
)


@dataclass(frozen=True, slots=True)
class RequestedJob:
    """A retrieve job to make; `subject` is the same for jobs that would fetch the same."""

    id: UUID
    subject: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RequestedBatch:
    """The batch of several jobs."""

    id: UUID
    parameters: Mapping[str, Any]


def on_the_way(connection: Connection, subjects: Collection[str]) -> dict[str, UUID]:
    """Return the unfinished jobs that fetch these subjects; nobody makes others meanwhile."""
    connection.execute(LOCK, {"key": ASKING_LOCK})
    rows = connection.execute(ON_THE_WAY, {"subjects": list(subjects)})
    return {row.subject: row.id for row in rows}


def add_retrieves(
    connection: Connection,
    jobs: Sequence[RequestedJob],
    batch: RequestedBatch | None,
    *,
    node_id: int,
    priority: int,
    created_by: str,
    not_before: datetime | None = None,
) -> None:
    """Make jobs, which begin in this order, and the batch that they belong to."""
    common = {
        "node_id": node_id,
        "priority": priority,
        "not_before": not_before,
        "created_by": created_by,
    }
    if batch is not None:
        described = {"id": batch.id, "parameters": json.dumps(dict(batch.parameters))}
        connection.execute(ADD_BATCH, common | described)
    given = {
        "ids": [job.id for job in jobs],
        "subjects": [job.subject for job in jobs],
        "parameters": [json.dumps(dict(job.parameters)) for job in jobs],
        "parent_id": None if batch is None else batch.id,
        "state": "queued" if not_before is None else "scheduled",
    }
    connection.execute(ADD, common | given)
