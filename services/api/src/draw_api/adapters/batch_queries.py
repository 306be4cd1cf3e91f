"""Stores lists of questions to remote nodes and the nodes' answers in PostgreSQL."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.job_queries import CANCEL, STATE_FOR_UPDATE, cursor_of, key_of
from draw_api.adapters.query_queries import NODE_STATES, REMOVE
from draw_api.models.batch_queries import (
    MAX_STUDIES_A_LINE,
    AskedLine,
    BatchLine,
    BatchQuery,
    BatchQueryWithSums,
    StudySource,
)
from draw_api.models.paging import (
    Page,
    decode_cursor,
    encode_cursor,
    foreign_cursor,
    page_of,
)
from draw_api.ports.batch_queries import BatchQueryRepository

ADD_BATCH: Final = text(
    """
    INSERT INTO jobs (id, kind, state, parameters, created_by, started_at)
    VALUES (:id, 'batch', 'running', '{"of": "batch_find"}', :created_by, now())
    """
)
ADD_LIST: Final = text(
    """
    INSERT INTO batch_queries (id, columns, lines, kept_seconds, created_by)
    VALUES (:id, :columns, :lines, :kept_seconds, :created_by)
    """
)
ADD_LINES: Final = text(
    """
    INSERT INTO batch_query_lines (batch_query_id, number, keys)
    SELECT :id, given.number, CAST(given.keys AS jsonb)
    FROM unnest(CAST(:numbers AS int[]), CAST(:keys AS text[])) AS given (number, keys)
    """
)
ADD_JOBS: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, parent_id, priority, parameters, created_by)
    SELECT given.id, 'batch_find', 'queued', given.node_id, :id, :priority,
        jsonb_build_object('batch_query_id', CAST(:id AS text), 'limit', CAST(:most AS int)),
        :created_by
    FROM unnest(CAST(:ids AS uuid[]), CAST(:node_ids AS bigint[])) AS given (id, node_id)
    """
)
ANSWERS: Final = """
    SELECT l.id AS line_id, l.number, l.keys, c.node_id, c.id AS job_id, n.name AS node_name,
        n.active AND (n.supports_move OR n.supports_get) AS retrievable,
        coalesce(a.found, 0) AS found,
        CASE WHEN a.state = 'complete' THEN
                CASE a.found WHEN 0 THEN 'not_found' WHEN 1 THEN 'found' ELSE 'several' END
            WHEN a.state IS NOT NULL THEN a.state
            WHEN c.state = 'cancelled' THEN 'cancelled'
            WHEN c.finished_at IS NOT NULL THEN 'failed' ELSE 'waiting' END AS state,
        CASE WHEN a.line_id IS NOT NULL THEN a.error
            WHEN c.finished_at IS NULL THEN ''
            WHEN c.error <> '' THEN c.error
            WHEN c.node_id IS NULL THEN 'the remote node was removed' ELSE '' END AS error,
        coalesce(a.studies, '[]') AS studies
    FROM batch_query_lines l JOIN jobs c ON c.parent_id = l.batch_query_id
        LEFT JOIN remote_nodes n ON n.id = c.node_id
        LEFT JOIN LATERAL (SELECT * FROM batch_query_answers k
            WHERE k.line_id = l.id AND k.node_id = c.node_id OFFSET 0) AS a ON true
    WHERE l.batch_query_id = :id
"""
"""Each node's answer to each line, or why it has none; OFFSET 0: looked up one by one."""
STUDIES: Final = """
    SELECT given.position, given.study->'attributes' AS attributes,
        given.study->'attributes'->>'StudyInstanceUID' AS study_instance_uid,
        CAST(given.study->>'instances' AS int) AS instances_there,
        coalesce(CAST(given.study->>'meant' AS boolean), true) AS meant,
        coalesce(s.instance_count, 0) AS instances_here,
        CASE WHEN coalesce(s.instance_count, 0) = 0 THEN 'no'
            WHEN coalesce(CAST(given.study->>'instances' AS int), 0) = 0 THEN 'unknown'
            WHEN s.instance_count >= CAST(given.study->>'instances' AS int) THEN 'complete'
            ELSE 'partial' END AS here
    FROM jsonb_array_elements(a.studies) WITH ORDINALITY AS given (study, position)
        LEFT JOIN LATERAL (SELECT k.instance_count FROM studies k
            WHERE k.study_instance_uid = given.study->'attributes'->>'StudyInstanceUID' OFFSET 0)
            AS s ON true
"""
"""The studies of one answer, and how much of each is here; OFFSET 0: looked up one by one."""
COUNTED: Final = f"""
    answers AS ({ANSWERS}),
    counted AS (SELECT a.*, held.missing, held.total, held.told FROM answers a, LATERAL (
        SELECT count(*) FILTER (WHERE f.here <> 'complete') AS missing, count(*) AS total,
            coalesce(jsonb_agg(jsonb_build_object(
                'study_instance_uid', f.study_instance_uid, 'attributes', f.attributes,
                'instances_there', f.instances_there, 'instances_here', f.instances_here,
                'here', f.here) ORDER BY f.position), '[]') AS told
        FROM ({STUDIES}) AS f) AS held)
"""  # noqa: S608 - parts of our own
LINES: Final = text(
    f"""
    WITH {COUNTED}
    SELECT number, keys, node_id, node_name, job_id, state, error, told AS studies FROM counted
    WHERE (CAST(:node_id AS bigint) IS NULL OR node_id = :node_id)
        AND (CAST(:state AS text) IS NULL OR state = :state)
        AND (CAST(:here AS text) IS NULL OR :here = 'missing' AND missing > 0
            OR :here = 'complete' AND missing = 0 AND total > 0)
        AND (CAST(:after AS bigint) IS NULL
            OR (number, job_id) > (CAST(:after AS bigint), CAST(:after_job AS uuid)))
    ORDER BY number, job_id LIMIT :limit
    """  # noqa: S608 - parts of our own
)
SUMS: Final = text(
    f"""
    WITH {COUNTED}
    SELECT state, count(*) AS lines, sum(found) AS studies, sum(missing) AS missing
    FROM counted GROUP BY state
    """  # noqa: S608 - parts of our own
)
SOURCES: Final = text(
    f"""
    WITH answers AS ({ANSWERS})
    SELECT a.node_id, f.study_instance_uid, f.instances_there,
        a.state = 'found' AND f.meant AS certain
    FROM answers a, LATERAL ({STUDIES}) AS f
    WHERE a.retrievable AND f.here <> 'complete' ORDER BY a.number, f.position
    """  # noqa: S608 - parts of our own
)
FOUND: Final = text(
    """
    SELECT a.node_id, given.study->'attributes'->>'StudyInstanceUID' AS study_instance_uid,
        given.study->'attributes' AS attributes
    FROM batch_query_lines l JOIN batch_query_answers a ON a.line_id = l.id,
        LATERAL jsonb_array_elements(a.studies) AS given (study)
    WHERE l.batch_query_id = :id
    """
)
COLUMNS: Final = """
    SELECT b.id, b.columns, b.lines, b.expired, b.created_at, b.created_by, j.state,
        j.finished_at,
        (SELECT coalesce(jsonb_agg(jsonb_build_object('node_id', c.node_id,
            'node_name', n.name, 'state', c.state, 'error', c.error,
            'answered', coalesce((c.progress->>'answered')::int, 0),
            'found', coalesce((c.progress->>'found')::int, 0),
            'failed', coalesce((c.progress->>'failed')::int, 0)) ORDER BY n.name), '[]')
         FROM jobs c LEFT JOIN remote_nodes n ON n.id = c.node_id WHERE c.parent_id = b.id)
            AS nodes
    FROM batch_queries b JOIN jobs j ON j.id = b.id
"""
LISTS: Final = text(
    f"""
    {COLUMNS}
    WHERE (CAST(:before AS timestamptz) IS NULL
        OR (b.created_at, b.id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))
    ORDER BY b.created_at DESC, b.id DESC LIMIT :limit
    """
)
LIST: Final = text(f"{COLUMNS} WHERE b.id = :id")
ASKED: Final = text(
    "SELECT number, keys FROM batch_query_lines WHERE batch_query_id = :id ORDER BY number"
)
PRIORITY: Final = 4
"""A user waits for it, but a single query goes before a list of thousands."""


class PostgresBatchQueryRepository(BatchQueryRepository):
    """The tables of batch queries and their jobs, within one transaction."""

    def __init__(self, session: Session, kept: timedelta) -> None:
        self._connection = session.connection()
        self._kept = kept

    @override
    def node_states(self, node_ids: Collection[int]) -> Mapping[int, str]:
        rows = self._connection.execute(NODE_STATES, {"ids": list(node_ids)})
        return {row.id: row.hindrance for row in rows}

    @override
    def add(
        self,
        columns: Sequence[str],
        lines: Sequence[AskedLine],
        node_ids: Sequence[int],
        created_by: str,
    ) -> tuple[UUID, Sequence[UUID]]:
        batch_query_id, jobs = uuid4(), [uuid4() for _ in node_ids]
        common = {"id": batch_query_id, "created_by": created_by}
        self._connection.execute(ADD_BATCH, common)
        held = {"columns": list(columns), "lines": len(lines)}
        kept = {"kept_seconds": int(self._kept.total_seconds())}
        self._connection.execute(ADD_LIST, common | held | kept)
        self._connection.execute(
            ADD_LINES,
            {
                "id": batch_query_id,
                "numbers": [line.number for line in lines],
                "keys": [json.dumps(dict(line.keys)) for line in lines],
            },
        )
        given = {
            "ids": jobs,
            "node_ids": list(node_ids),
            "priority": PRIORITY,
            "most": MAX_STUDIES_A_LINE,
        }
        self._connection.execute(ADD_JOBS, common | given)
        return batch_query_id, jobs

    @override
    def batch_queries(self, cursor: str | None, limit: int) -> Page[BatchQuery]:
        before, before_id = key_of(cursor) if cursor is not None else (None, None)
        values = {"before": before, "before_id": before_id, "limit": limit + 1}
        rows = self._connection.execute(LISTS, values).mappings()
        return page_of(
            [(cursor_of(row), BatchQuery.model_validate(_to_fields(row))) for row in rows], limit
        )

    @override
    def batch_query(self, batch_query_id: UUID) -> BatchQueryWithSums | None:
        values = {"id": batch_query_id}
        row = self._connection.execute(LIST, values).mappings().first()
        if row is None:
            return None
        sums = self._connection.execute(SUMS, values).mappings().all()
        return BatchQueryWithSums.model_validate(
            _to_fields(row)
            | {
                "lines_by_state": {each["state"]: each["lines"] for each in sums},
                "studies": sum(each["studies"] for each in sums),
                "studies_missing": sum(each["missing"] for each in sums),
            }
        )

    @override
    def lines(
        self,
        batch_query_id: UUID,
        *,
        node_id: int | None,
        state: str | None,
        here: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[BatchLine]:
        after, after_job = _key_of(cursor) if cursor is not None else (None, None)
        values = {
            "id": batch_query_id,
            "node_id": node_id,
            "state": state,
            "here": here,
            "after": after,
            "after_job": after_job,
            "limit": limit + 1,
        }
        rows = self._connection.execute(LINES, values).mappings()
        return page_of(
            [
                (encode_cursor(row["number"], str(row["job_id"])), BatchLine.model_validate(row))
                for row in rows
            ],
            limit,
        )

    @override
    def asked(self, batch_query_id: UUID) -> Sequence[AskedLine]:
        rows = self._connection.execute(ASKED, {"id": batch_query_id})
        return [AskedLine(row.number, row.keys) for row in rows]

    @override
    def sources(self, batch_query_id: UUID) -> Sequence[StudySource]:
        rows = self._connection.execute(SOURCES, {"id": batch_query_id}).mappings()
        return [StudySource(**row) for row in rows]

    @override
    def found(self, batch_query_id: UUID) -> Mapping[tuple[int, str], Mapping[str, Any]]:
        rows = self._connection.execute(FOUND, {"id": batch_query_id})
        return {(row.node_id, row.study_instance_uid): row.attributes for row in rows}

    @override
    def cancel(self, batch_query_id: UUID) -> str | None:
        values = {"id": batch_query_id}
        state: str | None = self._connection.execute(STATE_FOR_UPDATE, values).scalar()
        if state is not None:
            self._connection.execute(CANCEL, values)
        return state

    @override
    def remove(self, batch_query_id: UUID) -> None:
        self._connection.execute(REMOVE, {"id": batch_query_id})


def _key_of(cursor: str) -> tuple[int, UUID]:
    """Return the line and the job before a cursor."""
    number, job_id = decode_cursor(cursor, (int, str))
    try:
        return int(number), UUID(str(job_id))
    except ValueError:
        raise foreign_cursor() from None


def _to_fields(row: RowMapping) -> dict[str, Any]:
    nodes: Sequence[Mapping[str, Any]] = row["nodes"]
    return {
        **row,
        "node_ids": [node["node_id"] for node in nodes if node["node_id"] is not None],
        "answered": sum(int(node["answered"]) for node in nodes),
    }
