"""Standing queries and their runs in PostgreSQL."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.schedules import ScheduleUnusable, runs_after
from draw_api.models.standing_queries import (
    KEPT_RUNS,
    AskedNode,
    MissingStudy,
    NewStandingQuery,
    RunOutcome,
    ScheduledQuery,
    StandingQuery,
    StandingQueryRun,
    StudiesFound,
    UnfinishedRun,
)
from draw_api.ports.standing_queries import StandingQueryRepository, StandingRunRepository

NEXT_SHOWN: Final = 3
ENDED: Final = frozenset({"complete", "partial", "failed", "skipped"})
ADDING_LOCK: Final = 0x44524153
"""Key of the advisory lock that serializes adding and naming standing queries."""

MOMENT: Final = text("SELECT clock_timestamp()")
NUMBER: Final = text("SELECT count(*) FROM standing_queries")
NAME_TAKEN: Final = text(
    "SELECT EXISTS (SELECT FROM standing_queries"
    " WHERE name = :name AND id <> coalesce(CAST(:id AS bigint), 0))"
)
COLUMNS: Final = """
    SELECT s.id, s.name, s.active, s.query->'keys' AS keys, s.query->'node_ids' AS node_ids,
        coalesce(CAST(s.query->>'limit' AS int), 0) AS limit,
        coalesce(s.query->>'study_dates', '') AS study_dates, s.schedule, s.zone, s.retrieve,
        s.most, s.created_at, s.created_by, s.updated_at, to_jsonb(r) AS last_run
    FROM standing_queries s LEFT JOIN LATERAL (
        SELECT * FROM standing_query_runs k WHERE k.standing_query_id = s.id
        ORDER BY k.scheduled_for DESC LIMIT 1) AS r ON true
"""
ALL: Final = text(f"{COLUMNS} ORDER BY s.name")
ONE: Final = text(f"{COLUMNS} WHERE s.id = :id")
ADD: Final = text(
    """
    INSERT INTO standing_queries (name, active, query, schedule, zone, retrieve, most,
        next_run_at, created_by)
    VALUES (:name, :active, CAST(:query AS jsonb), :schedule, :zone, :retrieve, :most,
        :next_run_at, :created_by)
    RETURNING id
    """
)
CHANGE: Final = text(
    """
    UPDATE standing_queries SET name = coalesce(:name, name),
        active = coalesce(CAST(:active AS boolean), active),
        query = coalesce(CAST(:query AS jsonb), query),
        schedule = coalesce(:schedule, schedule), zone = coalesce(:zone, zone),
        retrieve = coalesce(CAST(:retrieve AS boolean), retrieve),
        most = coalesce(CAST(:most AS int), most),
        next_run_at = CAST(:next_run_at AS timestamptz), updated_at = now()
    WHERE id = :id
    """
)
REMOVE: Final = text("DELETE FROM standing_queries WHERE id = :id")
RUNS: Final = text(
    """
    SELECT * FROM standing_query_runs
    WHERE standing_query_id = :standing_query_id AND (CAST(:before AS timestamptz) IS NULL
        OR scheduled_for < CAST(:before AS timestamptz))
    ORDER BY scheduled_for DESC LIMIT :limit
    """
)
SCHEDULED: Final = (
    "SELECT id, active, query, schedule, zone, retrieve, most, next_run_at FROM standing_queries"
)
ACTIVE: Final = text(f"{SCHEDULED} WHERE active AND next_run_at IS NOT NULL ORDER BY next_run_at")
HOLD: Final = text(f"{SCHEDULED} WHERE id = :id FOR UPDATE SKIP LOCKED")
HOLD_WAITING: Final = text(f"{SCHEDULED} WHERE id = :id FOR UPDATE")
SET_NEXT: Final = text("UPDATE standing_queries SET next_run_at = :next_run_at WHERE id = :id")
GOING: Final = text(
    "SELECT max(scheduled_for) FROM standing_query_runs"
    " WHERE standing_query_id = :id AND finished_at IS NULL"
)
ADD_RUN: Final = text(
    """
    INSERT INTO standing_query_runs (standing_query_id, scheduled_for, run_by, state, started_at)
    VALUES (:standing_query_id, :scheduled_for, :run_by, 'asking', clock_timestamp())
    ON CONFLICT (standing_query_id, scheduled_for) DO NOTHING RETURNING id
    """
)
FORGET: Final = text(
    """
    DELETE FROM standing_query_runs WHERE standing_query_id = :standing_query_id
        AND finished_at IS NOT NULL AND scheduled_for < (
            SELECT scheduled_for FROM standing_query_runs
            WHERE standing_query_id = :standing_query_id
            ORDER BY scheduled_for DESC OFFSET :kept LIMIT 1)
    """
)
UNFINISHED: Final = text("SELECT id FROM standing_query_runs WHERE finished_at IS NULL ORDER BY id")
HOLD_RUN: Final = text(
    """
    SELECT r.id, r.standing_query_id, r.scheduled_for, r.state, r.query_id, r.retrieve_ids,
        r.error, s.query, s.zone, s.retrieve, s.most
    FROM standing_query_runs r JOIN standing_queries s ON s.id = r.standing_query_id
    WHERE r.id = :id AND r.finished_at IS NULL FOR UPDATE OF r SKIP LOCKED
    """
)
WRITE: Final = text(
    """
    UPDATE standing_query_runs SET state = :state, error = :error,
        query_id = coalesce(CAST(:query_id AS uuid), query_id),
        retrieve_ids = CASE WHEN cardinality(CAST(:retrieve_ids AS uuid[])) = 0
            THEN retrieve_ids ELSE CAST(:retrieve_ids AS uuid[]) END,
        found = greatest(found, :found), already_here = greatest(already_here, :already_here),
        requested = greatest(requested, :requested), on_the_way = greatest(on_the_way, :on_the_way),
        left_out = greatest(left_out, :left_out),
        finished_at = CASE WHEN :ended THEN clock_timestamp() END
    WHERE id = :id
    """
)
NODES: Final = text(
    """
    SELECT id, name, CASE WHEN NOT active THEN 'this remote node is switched off'
        WHEN NOT supports_find THEN 'this remote node answers no queries' ELSE '' END AS hindrance
    FROM remote_nodes WHERE id = ANY(:ids)
    """
)
STUDIES: Final = """
    WITH told AS (
        SELECT r.node_id, n.name AS node_name, r.attributes,
            r.attributes->>'StudyInstanceUID' AS uid,
            n.active AND (n.supports_move OR n.supports_get) AS retrievable,
            CASE WHEN btrim(r.attributes->>'NumberOfStudyRelatedInstances') ~ '^[0-9]{1,9}$'
                THEN CAST(btrim(r.attributes->>'NumberOfStudyRelatedInstances') AS int)
                ELSE 0 END AS number
        FROM query_results r JOIN remote_nodes n ON n.id = r.node_id WHERE r.query_id = :id
    ), best AS (
        SELECT DISTINCT ON (uid) * FROM told WHERE uid <> ''
        ORDER BY uid, retrievable DESC, number DESC, node_id
    ), studies_found AS (
        SELECT b.*, b.number > 0 AND coalesce(s.instance_count, 0) >= b.number AS here,
            b.uid ~ '^[0-9]+([.][0-9]+)*$' AND char_length(b.uid) <= 64 AS named
        FROM best b LEFT JOIN LATERAL (SELECT k.instance_count FROM studies k
            WHERE k.study_instance_uid = b.uid OFFSET 0) AS s ON true
    )
"""
"""The studies that a query found, each from one node, and whether they are completely here."""
FOUND: Final = text(
    f"""
    {STUDIES}
    SELECT count(*) AS found, count(*) FILTER (WHERE here) AS here,
        count(*) FILTER (WHERE NOT here AND named AND retrievable) AS missing,
        count(*) FILTER (WHERE NOT here AND named AND NOT retrievable) AS silent,
        count(*) FILTER (WHERE NOT here AND NOT named)
            + (SELECT count(*) FROM told WHERE coalesce(uid, '') = '') AS unnamed
    FROM studies_found
    """  # noqa: S608 - parts of our own
)
MISSING: Final = text(
    f"""
    {STUDIES}
    SELECT node_id, node_name, uid AS study_instance_uid, attributes
    FROM studies_found WHERE NOT here AND named AND retrievable
    ORDER BY coalesce(attributes->>'StudyDate', '') COLLATE "C" DESC,
        coalesce(attributes->>'StudyTime', '') COLLATE "C" DESC, uid LIMIT :most
    """  # noqa: S608 - parts of our own
)


class PostgresStandingQueryRepository(StandingQueryRepository):
    """The table `standing_queries`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def moment(self) -> datetime:
        found: datetime = self._connection.execute(MOMENT).scalar_one()
        return found

    @override
    def number(self) -> int:
        self._lock()
        return int(self._connection.execute(NUMBER).scalar_one())

    @override
    def name_is_taken(self, name: str, except_id: int | None) -> bool:
        self._lock()
        values = {"name": name, "id": except_id}
        return bool(self._connection.execute(NAME_TAKEN, values).scalar_one())

    @override
    def all(self) -> Sequence[StandingQuery]:
        now = self.moment()
        return [_standing(row, now) for row in self._connection.execute(ALL).mappings()]

    @override
    def one(self, standing_query_id: int) -> StandingQuery | None:
        row = self._connection.execute(ONE, {"id": standing_query_id}).mappings().first()
        return None if row is None else _standing(row, self.moment())

    @override
    def add(self, new: NewStandingQuery, next_run_at: datetime | None, created_by: str) -> int:
        values = new.model_dump(exclude={"query"}) | {
            "query": new.query.model_dump_json(),
            "next_run_at": next_run_at,
            "created_by": created_by,
        }
        return int(self._connection.execute(ADD, values).scalar_one())

    @override
    def change(self, standing_query_id: int, values: Mapping[str, Any]) -> None:
        names = ("name", "active", "query", "schedule", "zone", "retrieve", "most", "next_run_at")
        written = {name: values.get(name) for name in names} | {"id": standing_query_id}
        if written["query"] is not None:
            written["query"] = json.dumps(written["query"])
        self._connection.execute(CHANGE, written)

    @override
    def remove(self, standing_query_id: int) -> None:
        self._connection.execute(REMOVE, {"id": standing_query_id})

    @override
    def runs(
        self, standing_query_id: int, cursor: str | None, limit: int
    ) -> Page[StandingQueryRun]:
        before = _moment_of(cursor) if cursor is not None else None
        values = {"standing_query_id": standing_query_id, "before": before, "limit": limit + 1}
        rows = self._connection.execute(RUNS, values).mappings()
        return page_of(
            [
                (encode_cursor(row["scheduled_for"].isoformat()), StandingQueryRun(**row))
                for row in rows
            ],
            limit,
        )

    @override
    def nodes(self, node_ids: Collection[int]) -> Mapping[int, AskedNode]:
        rows = self._connection.execute(NODES, {"ids": list(node_ids)})
        return {row.id: AskedNode(row.name, row.hindrance) for row in rows}

    def _lock(self) -> None:
        self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADDING_LOCK})


class PostgresStandingRunRepository(StandingRunRepository):
    """The tables of standing queries as the scheduler uses them, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def moment(self) -> datetime:
        found: datetime = self._connection.execute(MOMENT).scalar_one()
        return found

    @override
    def active(self) -> Sequence[ScheduledQuery]:
        return [ScheduledQuery(**row) for row in self._connection.execute(ACTIVE).mappings()]

    @override
    def hold(self, standing_query_id: int, *, wait: bool) -> ScheduledQuery | None:
        statement = HOLD_WAITING if wait else HOLD
        row = self._connection.execute(statement, {"id": standing_query_id}).mappings().first()
        return None if row is None else ScheduledQuery(**row)

    @override
    def set_next_run(self, standing_query_id: int, moment: datetime | None) -> None:
        self._connection.execute(SET_NEXT, {"id": standing_query_id, "next_run_at": moment})

    @override
    def is_going(self, standing_query_id: int) -> datetime | None:
        found: datetime | None = self._connection.execute(
            GOING, {"id": standing_query_id}
        ).scalar_one()
        return found

    @override
    def add_run(self, standing_query_id: int, scheduled_for: datetime, run_by: str) -> int | None:
        values = {
            "standing_query_id": standing_query_id,
            "scheduled_for": scheduled_for,
            "run_by": run_by,
        }
        run_id: int | None = self._connection.execute(ADD_RUN, values).scalar()
        self._connection.execute(
            FORGET, {"standing_query_id": standing_query_id, "kept": KEPT_RUNS - 1}
        )
        return run_id

    @override
    def unfinished(self) -> Sequence[int]:
        return [row.id for row in self._connection.execute(UNFINISHED)]

    @override
    def hold_run(self, run_id: int) -> UnfinishedRun | None:
        row = self._connection.execute(HOLD_RUN, {"id": run_id}).mappings().first()
        if row is None:
            return None
        return UnfinishedRun(**{**row, "retrieve_ids": tuple(row["retrieve_ids"])})

    @override
    def write(self, run_id: int, outcome: RunOutcome) -> None:
        self._connection.execute(
            WRITE,
            {
                "id": run_id,
                "state": outcome.state,
                "error": "; ".join(outcome.problems),
                "query_id": outcome.query_id,
                "retrieve_ids": list(outcome.retrieve_ids),
                "found": outcome.found,
                "already_here": outcome.already_here,
                "requested": outcome.requested,
                "on_the_way": outcome.on_the_way,
                "left_out": outcome.left_out,
                "ended": outcome.state in ENDED,
            },
        )

    @override
    def found(self, query_id: UUID) -> StudiesFound:
        row = self._connection.execute(FOUND, {"id": query_id}).mappings().one()
        return StudiesFound(**row)

    @override
    def missing(self, query_id: UUID, most: int) -> Sequence[MissingStudy]:
        rows = self._connection.execute(MISSING, {"id": query_id, "most": most}).mappings()
        return [MissingStudy(**row) for row in rows]


def _moment_of(cursor: str) -> datetime:
    """Return the moment of the run before a cursor."""
    (moment,) = decode_cursor(cursor, (str,))
    try:
        found = datetime.fromisoformat(str(moment))
    except ValueError:
        raise foreign_cursor() from None
    if found.tzinfo is None:
        raise foreign_cursor()
    return found


def _standing(row: RowMapping, now: datetime) -> StandingQuery:
    try:
        coming = list(islice(runs_after(row["schedule"], row["zone"], now), NEXT_SHOWN))
    except ScheduleUnusable:
        # The run that would be next says so.
        coming = []
    return StandingQuery.model_validate({**row, "next_runs": coming if row["active"] else []})
