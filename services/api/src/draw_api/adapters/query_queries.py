"""Queries to remote nodes and their matches in PostgreSQL, as operators see them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.job_queries import CANCEL, STATE_FOR_UPDATE, cursor_of, key_of
from draw_api.adapters.job_waits import FACTS, wait_of
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.queries import (
    ChosenMatch,
    NewQuery,
    Query,
    QueryCriteria,
    QueryMatch,
    QueryOrigin,
)
from draw_api.ports.queries import QueryRepository
from draw_shared.dicom.encoding.search_text import like_literal

NODE_STATES: Final = text(
    """
    SELECT id, CASE WHEN NOT active THEN 'this remote node is switched off'
        WHEN NOT supports_find THEN 'this remote node answers no queries' ELSE '' END AS hindrance
    FROM remote_nodes WHERE id = ANY(:ids) FOR SHARE
    """
)
FRESH: Final = text(
    """
    SELECT q.id FROM queries q JOIN jobs j ON j.id = q.id
    WHERE q.fingerprint = :fingerprint
        AND q.created_at > now() - make_interval(secs => :max_age_seconds)
        AND q.expires_at > now() AND NOT j.cancel_requested
        AND (j.finished_at IS NULL OR j.state = 'complete')
    ORDER BY q.created_at DESC LIMIT 1
    """
)
ADD_BATCH: Final = text(
    """
    INSERT INTO jobs (id, kind, state, parameters, created_by, started_at)
    VALUES (:id, 'batch', 'running', '{"of": "find"}', :created_by, now())
    """
)
ADD_QUERY: Final = text(
    """
    INSERT INTO queries (id, level, keys, node_ids, fingerprint, created_by, expires_at,
        opened_from)
    VALUES (:id, :level, CAST(:keys AS jsonb), :node_ids, :fingerprint, :created_by,
        now() + make_interval(secs => :kept_seconds), CAST(:opened_from AS jsonb))
    """
)
ADD_JOBS: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, parent_id, priority, parameters, created_by)
    SELECT given.id, 'find', 'queued', given.node_id, :parent_id, :priority,
        CAST(:parameters AS jsonb), :created_by
    FROM unnest(CAST(:ids AS uuid[]), CAST(:node_ids AS bigint[])) AS given (id, node_id)
    """
)
_COLUMNS: Final = """
    SELECT q.id, q.level, q.keys, q.node_ids, q.created_at, q.created_by, q.expires_at,
        q.opened_from, coalesce(q.expires_at < now(), false) AS expired, batch.state,
        batch.finished_at,
        (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'node_id', asked.node_id, 'node_name', asked.node_name, 'state', asked.state,
            'error', asked.error, 'kind', 'find', 'not_before', asked.not_before,
            'matches', coalesce((asked.progress->>'matches')::bigint, 0),
            'requests', coalesce((asked.progress->>'requests')::bigint, 0),
            'completeness', coalesce(asked.result->>'completeness', ''),
            'wait_facts', asked.wait_facts) ORDER BY asked.node_name), '[]')
         FROM (SELECT j.*, n.name AS node_name, {waits}
            FROM jobs j LEFT JOIN remote_nodes n ON n.id = j.node_id
            WHERE j.parent_id = q.id) AS asked) AS nodes
    FROM queries q JOIN jobs batch ON batch.id = q.id
"""
COLUMNS: Final = _COLUMNS.format(waits="NULL AS wait_facts")
"""A list does not say why its queries wait: that would be counted for each node of each query."""
CONDITIONS: Final = {
    "before": "(q.created_at, q.id) < (:before, :before_id)",
    "node_id": "q.node_ids @> ARRAY[CAST(:node_id AS bigint)]",
    "created_by": "q.created_by = :created_by",
    "since": "q.created_at >= :since",
    "until": "q.created_at < :until",
}
"""The conditions of the history, by the criterion that uses each; unused ones are left out."""
QUERY: Final = text(f"{_COLUMNS.format(waits=FACTS)} WHERE q.id = :id")
ASKED: Final = text(
    """
    SELECT q.level, q.keys, q.node_ids,
        coalesce((SELECT (c.parameters->>'limit')::int FROM jobs c
            WHERE c.parent_id = q.id LIMIT 1), 0) AS limit
    FROM queries q WHERE q.id = :id
    """
)
MATCHES: Final = """
    SELECT r.id, r.node_id, n.name AS node_name, r.attributes,
        coalesce(r.attributes->>:sort, '') COLLATE "C" AS sort_value,
        CASE q.level WHEN 'STUDY' THEN (SELECT coalesce(sum(s.instance_count), 0) FROM studies s
                WHERE s.study_instance_uid = r.attributes->>'StudyInstanceUID')
            WHEN 'SERIES' THEN (SELECT coalesce(sum(s.instance_count), 0) FROM series s
                WHERE s.series_instance_uid = r.attributes->>'SeriesInstanceUID')
            WHEN 'IMAGE' THEN (SELECT count(*) FROM instances i
                WHERE i.sop_instance_uid = r.attributes->>'SOPInstanceUID') END
            AS instances_here
    FROM query_results r JOIN queries q ON q.id = r.query_id
        JOIN remote_nodes n ON n.id = r.node_id
    WHERE r.query_id = :id AND (CAST(:node_id AS bigint) IS NULL OR r.node_id = :node_id)
        AND (:pattern = '' OR EXISTS (SELECT FROM jsonb_each_text(r.attributes) AS a
            WHERE lower(a.value) LIKE :pattern))
        AND (CAST(:after_id AS bigint) IS NULL OR (coalesce(r.attributes->>:sort, '')
            COLLATE "C", r.id) {comparison} (CAST(:after AS text), CAST(:after_id AS bigint)))
    ORDER BY sort_value {direction}, r.id {direction} LIMIT :limit
"""
ASCENDING: Final = text(MATCHES.format(comparison=">", direction="ASC"))
DESCENDING: Final = text(MATCHES.format(comparison="<", direction="DESC"))
CHOSEN: Final = text(
    """
    SELECT r.id, r.node_id, n.query_model,
        coalesce(q.opened_from->'attributes', '{}') || jsonb_strip_nulls(jsonb_build_object(
            'StudyInstanceUID', q.keys->'StudyInstanceUID',
            'SeriesInstanceUID', q.keys->'SeriesInstanceUID')) || r.attributes AS attributes
    FROM query_results r JOIN queries q ON q.id = r.query_id
        JOIN remote_nodes n ON n.id = r.node_id
    WHERE r.query_id = :id AND r.id = ANY(:ids) ORDER BY r.id
    """
)
REMOVE: Final = text("DELETE FROM jobs WHERE id = :id")
PRIORITY: Final = 3
"""A user waits for the answer: queries go before retrieves of the usual priority."""


class PostgresQueryRepository(QueryRepository):
    """The tables `queries`, `query_results` and their jobs, within one transaction."""

    def __init__(self, session: Session, kept: timedelta) -> None:
        self._connection = session.connection()
        self._kept = kept

    @override
    def node_states(self, node_ids: Collection[int]) -> Mapping[int, str]:
        rows = self._connection.execute(NODE_STATES, {"ids": list(node_ids)})
        return {row.id: row.hindrance for row in rows}

    @override
    def fresh(self, fingerprint: str, max_age_seconds: int) -> UUID | None:
        values = {"fingerprint": fingerprint, "max_age_seconds": max_age_seconds}
        found: UUID | None = self._connection.execute(FRESH, values).scalar()
        return found

    @override
    def add(
        self,
        query: NewQuery,
        fingerprint: str,
        created_by: str,
        opened_from: QueryOrigin | None = None,
    ) -> tuple[UUID, Sequence[UUID]]:
        query_id, node_ids = uuid4(), list(dict.fromkeys(query.node_ids))
        jobs = [uuid4() for _ in node_ids]
        common = {"id": query_id, "created_by": created_by, "node_ids": node_ids}
        self._connection.execute(ADD_BATCH, {"id": query_id, "created_by": created_by})
        self._connection.execute(
            ADD_QUERY,
            common
            | {
                "level": query.level,
                "keys": json.dumps(query.keys),
                "fingerprint": fingerprint,
                "kept_seconds": self._kept.total_seconds(),
                "opened_from": opened_from.model_dump_json() if opened_from else "{}",
            },
        )
        parameters = {
            "query_id": str(query_id),
            "level": query.level,
            "keys": query.keys,
            "limit": query.limit,
        }
        self._connection.execute(
            ADD_JOBS,
            {
                "ids": jobs,
                "node_ids": node_ids,
                "parent_id": query_id,
                "priority": PRIORITY,
                "parameters": json.dumps(parameters),
                "created_by": created_by,
            },
        )
        return query_id, jobs

    @override
    def queries(self, criteria: QueryCriteria, cursor: str | None, limit: int) -> Page[Query]:
        values: dict[str, Any] = {name: v for name, v in asdict(criteria).items() if v}
        if cursor is not None:
            values["before"], values["before_id"] = key_of(cursor)
        wanted = [condition for name, condition in CONDITIONS.items() if name in values]
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        statement = text(f"{COLUMNS} {where} ORDER BY q.created_at DESC, q.id DESC LIMIT :limit")
        rows = self._connection.execute(statement, values | {"limit": limit + 1}).mappings()
        return page_of([(cursor_of(row), _query(row)) for row in rows], limit)

    @override
    def query(self, query_id: UUID) -> Query | None:
        row = self._connection.execute(QUERY, {"id": query_id}).mappings().first()
        return None if row is None else _query(row)

    @override
    def asked(self, query_id: UUID) -> NewQuery:
        row = self._connection.execute(ASKED, {"id": query_id}).mappings().one()
        return NewQuery.model_validate(dict(row))

    @override
    def matches(
        self,
        query_id: UUID,
        *,
        node_id: int | None,
        search: str,
        sort: str,
        cursor: str | None,
        limit: int,
    ) -> Page[QueryMatch]:
        after, after_id = decode_cursor(cursor, (str, int)) if cursor is not None else (None, None)
        values = {
            "id": query_id,
            "node_id": node_id,
            "pattern": f"%{like_literal(search.lower())}%" if search else "",
            "sort": sort.lstrip("-"),
            "after": after,
            "after_id": after_id,
            "limit": limit + 1,
        }
        statement = DESCENDING if sort.startswith("-") else ASCENDING
        rows = self._connection.execute(statement, values).mappings()
        return page_of(
            [
                (encode_cursor(row["sort_value"], row["id"]), QueryMatch.model_validate(row))
                for row in rows
            ],
            limit,
        )

    @override
    def chosen(self, query_id: UUID, ids: Sequence[int]) -> Sequence[ChosenMatch]:
        rows = self._connection.execute(CHOSEN, {"id": query_id, "ids": list(ids)}).mappings()
        return [ChosenMatch(**row) for row in rows]

    @override
    def cancel(self, query_id: UUID) -> str | None:
        state: str | None = self._connection.execute(STATE_FOR_UPDATE, {"id": query_id}).scalar()
        if state is not None:
            self._connection.execute(CANCEL, {"id": query_id})
        return state

    @override
    def remove(self, query_id: UUID) -> None:
        self._connection.execute(REMOVE, {"id": query_id})


def _query(row: RowMapping) -> Query:
    nodes = [{**node, "wait": wait_of(node)} for node in row["nodes"]]
    said = {str(node["completeness"]) for node in nodes}
    over = row["finished_at"] is not None
    completeness = "complete" if said == {"complete"} else "truncated"
    return Query.model_validate(
        {
            **row,
            "nodes": nodes,
            "opened_from": row["opened_from"] or None,
            "completeness": completeness if over else "",
            "matches": sum(int(node["matches"]) for node in nodes),
        }
    )
