"""Finds and closes series and studies that are complete."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text
from typing_extensions import override

from draw_indexer.models import ClosedEntity, QuietEntity, SettledSeries
from draw_indexer.ports.stability import StabilityRepository
from draw_shared.contracts.instance import CompletionReason
from draw_shared.db.feed import SERIES_STABLE, STUDY_STABLE, take_turn
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

MAX_CLOSED_AT_ONCE: Final = 500
KEPT_HOURS: Final = 3
"""How long the end of an association waits for late objects; settle times are shorter."""
FORGOTTEN_AT_ONCE: Final = 10_000

SETTLES_AT: Final = (
    "max(a.ended_at + make_interval(secs => coalesce(t.settle_time_seconds, :settle)))"
)
ARRIVALS: Final = (
    "series_arrivals a LEFT JOIN allowed_ae_titles t ON t.ae_title = a.calling_ae"
    " WHERE a.series_pk = r.id"
)
# Objects may be indexed long after their reception, so both times must be quiet.
QUIET: Final = (
    "stable_at IS NULL AND last_received_at < now() - make_interval(secs => :quiet)"
    " AND updated_at < now() - make_interval(secs => :quiet)"
)
# The quiet period of a series may be shorter than the settle time of its sender.
SETTLING: Final = (
    f"EXISTS (SELECT FROM {ARRIVALS} HAVING bool_and(a.released) AND {SETTLES_AT} > now())"
)
# What a retrieve job has named and not brought yet will follow, whoever has brought the rest.
LACKING: Final = (
    "EXISTS (SELECT FROM retrieve_items i JOIN jobs j ON j.id = i.job_id"
    " WHERE i.study_instance_uid = {study} AND i.arrives_here AND i.arrived_at IS NULL"
    " AND j.kind = 'retrieve' AND {condition})"
)
STUDY_OF_SERIES: Final = "(SELECT t.study_instance_uid FROM studies t WHERE t.id = r.study_pk)"
OF_SERIES: Final = "i.series_instance_uid = r.series_instance_uid"
RUNS: Final = "j.state = 'running'"
SERIES_IS_BROUGHT: Final = LACKING.format(
    study=STUDY_OF_SERIES, condition=f"{RUNS} AND {OF_SERIES}"
)
STUDY_IS_BROUGHT: Final = LACKING.format(study="s.study_instance_uid", condition=RUNS)
# Between two tries too; a job that waits for long keeps nothing open beyond the quiet period.
SERIES_FOLLOWS: Final = LACKING.format(
    study=STUDY_OF_SERIES,
    condition=f"j.finished_at IS NULL AND j.state <> 'scheduled' AND {OF_SERIES}",
)
QUIET_SERIES: Final = f"FROM series r WHERE {QUIET} AND NOT {SETTLING} AND NOT {SERIES_IS_BROUGHT}"
QUIET_STUDIES: Final = (
    f"FROM studies s WHERE {QUIET} AND NOT EXISTS (SELECT FROM series r"
    f" WHERE r.study_pk = s.id AND r.stable_at IS NULL AND {SETTLING}) AND NOT {STUDY_IS_BROUGHT}"
)
# An association has ended for its series once the index has dealt with all that it stored.
ALL_INDEXED: Final = (
    "b.association_id = e.association_id"
    " AND b.ordinals @> int4multirange(int4range(1, e.objects, '[]'))"
)
# An end whose objects are still missing must not have the writers of the feed wait.
ANY_END: Final = text(
    f"SELECT EXISTS (SELECT FROM association_ends e"  # noqa: S608 - constants
    f" JOIN association_arrivals b ON {ALL_INDEXED})"
)
END_ASSOCIATIONS: Final = text(
    f"""
    WITH ended AS (
        DELETE FROM association_ends e USING association_arrivals b WHERE {ALL_INDEXED}
        RETURNING e.association_id, e.released, e.ended_at),
    accounted AS (DELETE FROM association_arrivals b USING ended e
        WHERE b.association_id = e.association_id),
    closed AS (DELETE FROM series_arrivals a USING ended e, series r
        WHERE a.association_id = e.association_id AND r.id = a.series_pk
            AND r.stable_at IS NOT NULL)
    UPDATE series_arrivals a SET ended_at = e.ended_at, released = e.released
    FROM ended e, series r
    WHERE a.association_id = e.association_id AND r.id = a.series_pk AND r.stable_at IS NULL
    """  # noqa: S608 - constants
)
# Only a proof completes what came over associations that are not counted.
ENDED: Final = f"""
    SELECT r.id, r.series_instance_uid, r.last_received_at,
        g.released AND g.settles_at <= now() AS settled, coalesce(p.proved, false) AS proved
    FROM (SELECT series_pk AS id FROM series_arrivals WHERE released
        UNION SELECT o.id FROM proved_arrivals k
            JOIN series o ON o.series_instance_uid = k.uid) c
    JOIN series r ON r.id = c.id
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_and(a.ended_at IS NOT NULL OR NOT a.counted), true) AS ended,
            coalesce(bool_and(a.released), false) AS released,
            {SETTLES_AT} AS settles_at
        FROM {ARRIVALS}) g
    LEFT JOIN LATERAL (
        SELECT true AS proved FROM proved_arrivals
        WHERE uid = r.series_instance_uid AND proved_at >= r.updated_at) p ON true
    WHERE r.stable_at IS NULL AND g.ended AND (g.released OR p.proved) AND NOT {SERIES_FOLLOWS}
"""  # noqa: S608 - constants
FIND_SETTLED: Final = text(
    f"SELECT id, series_instance_uid FROM ({ENDED}) k WHERE settled OR proved"  # noqa: S608
    " ORDER BY last_received_at LIMIT :most"
)
PROVED_STUDIES: Final = f"""
    SELECT s.id FROM studies s JOIN proved_arrivals p ON p.uid = s.study_instance_uid
    WHERE s.stable_at IS NULL AND p.proved_at >= s.updated_at AND NOT {STUDY_IS_BROUGHT}
        AND NOT EXISTS (SELECT FROM series r WHERE r.study_pk = s.id AND r.stable_at IS NULL)
"""  # noqa: S608 - constants
NOW: Final = text("SELECT now()")
FIND_QUIET: Final = text(
    f"""
    SELECT q.id, t.study_instance_uid, q.series_instance_uid
    FROM (SELECT id, study_pk, series_instance_uid, last_received_at {QUIET_SERIES}
        ORDER BY last_received_at LIMIT :most) q JOIN studies t ON t.id = q.study_pk
    UNION ALL
    SELECT * FROM (SELECT id, study_instance_uid, '' AS series_instance_uid {QUIET_STUDIES}
        ORDER BY last_received_at LIMIT :most) q
    """  # noqa: S608 - constants
)
ANY_PROVED: Final = text(f"SELECT EXISTS ({PROVED_STUDIES})")
CLOSE_SERIES: Final = text(
    f"""
    WITH ended AS (
        SELECT id, CASE WHEN settled THEN CAST(:ended_reason AS text) ELSE :proved END AS reason
        FROM ({ENDED} AND r.id = ANY(:ended)) k WHERE settled OR proved),
    quiet AS (SELECT id, CAST(:quiet_reason AS text) AS reason {QUIET_SERIES}
        AND r.id = ANY(:quiet_series)),
    complete AS (SELECT * FROM ended UNION ALL
        SELECT * FROM quiet WHERE id NOT IN (SELECT id FROM ended)),
    before AS (SELECT c.*, r.new_instance_count FROM complete c JOIN series r ON r.id = c.id),
    closed AS (UPDATE series r SET stable_at = now(), new_instance_count = 0
        FROM before b WHERE r.id = b.id
        RETURNING r.id, r.study_pk, r.series_instance_uid, r.instance_count,
            b.new_instance_count, b.reason)
    SELECT c.id, s.study_instance_uid, c.series_instance_uid, 1 AS series,
        c.instance_count AS instances, c.new_instance_count AS new_instances, c.reason
    FROM closed c JOIN studies s ON s.id = c.study_pk ORDER BY 2, 3
    """  # noqa: S608 - constants
)
CLOSE_STUDIES: Final = text(
    f"""
    WITH proved AS (SELECT id, CAST(:proved AS text) AS reason FROM ({PROVED_STUDIES}) k),
    quiet AS (SELECT id, CAST(:quiet_reason AS text) AS reason {QUIET_STUDIES}
        AND s.id = ANY(:quiet_studies)
        AND NOT EXISTS (SELECT FROM series r WHERE r.study_pk = s.id AND r.stable_at IS NULL)),
    complete AS (SELECT * FROM proved UNION ALL
        SELECT * FROM quiet WHERE id NOT IN (SELECT id FROM proved)),
    before AS (SELECT c.*, s.new_instance_count FROM complete c JOIN studies s ON s.id = c.id),
    closed AS (UPDATE studies s SET stable_at = now(), new_instance_count = 0
        FROM before b WHERE s.id = b.id
        RETURNING s.id, s.study_instance_uid, s.series_count, s.instance_count,
            b.new_instance_count, b.reason)
    SELECT id, study_instance_uid, '' AS series_instance_uid, series_count AS series,
        instance_count AS instances, new_instance_count AS new_instances, reason
    FROM closed ORDER BY 2
    """  # noqa: S608 - constants
)
APPEND_CHANGES: Final = text(
    """
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid, reason,
        new_instance_count)
    SELECT CAST(:kind AS text), study, series, reason, number FROM unnest(
        CAST(:studies AS text[]), CAST(:series AS text[]), CAST(:reasons AS text[]),
        CAST(:numbers AS int[])) WITH ORDINALITY AS k (study, series, reason, number, place)
    ORDER BY place
    """
)
FORGET_ARRIVALS: Final = text("DELETE FROM series_arrivals WHERE series_pk = ANY(:ids)")
# Nobody will say how these associations end.
FORGET_UNKNOWN: Final = text(
    """
    DELETE FROM series_arrivals WHERE (series_pk, association_id) IN (
        SELECT a.series_pk, a.association_id
        FROM series_arrivals a JOIN series r ON r.id = a.series_pk AND r.stable_at IS NOT NULL
        WHERE NOT EXISTS (SELECT FROM association_arrivals b
            WHERE b.association_id = a.association_id)
        LIMIT :most)
    """
)
FORGET_PROOFS: Final = text("DELETE FROM proved_arrivals WHERE uid = ANY(:uids)")


def _forget(table: str, key: str, moment: str) -> TextClause:
    return text(
        f"DELETE FROM {table} WHERE {key} = ANY(ARRAY(SELECT {key} FROM {table}"  # noqa: S608
        f" WHERE {moment} < now() - make_interval(hours => :hours)"
        f" ORDER BY {moment} LIMIT :most))"
    )


FORGET_OLD: Final = (
    _forget("association_arrivals", "association_id", "updated_at"),
    _forget("association_ends", "association_id", "ended_at"),
    _forget("proved_arrivals", "uid", "proved_at"),
    FORGET_UNKNOWN,
)


class PostgresStabilityRepository(StabilityRepository):
    """Closes complete series and studies in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def find_settled(self, settle_seconds: float) -> Sequence[SettledSeries]:
        values = {"settle": settle_seconds, "most": MAX_CLOSED_AT_ONCE}
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            if connection.execute(ANY_END).scalar():
                take_turn(connection)
                connection.execute(END_ASSOCIATIONS)
                session.commit()
                connection = session.connection()
            return [SettledSeries(*row) for row in connection.execute(FIND_SETTLED, values)]

    @override
    def find_quiet(
        self, quiet_seconds: float, settle_seconds: float
    ) -> tuple[datetime, Sequence[QuietEntity]]:
        values = {"quiet": quiet_seconds, "settle": settle_seconds, "most": MAX_CLOSED_AT_ONCE}
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            moment: datetime = connection.execute(NOW).scalar_one()
            return moment, [QuietEntity(*row) for row in connection.execute(FIND_QUIET, values)]

    @override
    def close(
        self,
        quiet_seconds: float,
        settle_seconds: float,
        ended: Collection[int],
        quiet: Collection[QuietEntity],
    ) -> tuple[list[ClosedEntity], list[ClosedEntity]]:
        values = {
            "quiet": quiet_seconds,
            "settle": settle_seconds,
            "ended": list(ended),
            "quiet_series": [one.id for one in quiet if one.series_instance_uid],
            "quiet_studies": [one.id for one in quiet if not one.series_instance_uid],
            "ended_reason": str(CompletionReason.ASSOCIATION_ENDED),
            "quiet_reason": str(CompletionReason.QUIET),
            "proved": str(CompletionReason.PROVED),
        }
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            if not ended and not quiet and not connection.execute(ANY_PROVED).scalar():
                return [], []
            take_turn(connection)
            series, ids = _close(connection, CLOSE_SERIES, SERIES_STABLE, values)
            connection.execute(FORGET_ARRIVALS, {"ids": ids})
            studies, _ = _close(connection, CLOSE_STUDIES, STUDY_STABLE, values)
            proved = [
                one.series_instance_uid or one.study_instance_uid for one in (*series, *studies)
            ]
            connection.execute(FORGET_PROOFS, {"uids": proved})
            session.commit()
        return series, studies

    def forget_old(self) -> None:
        """Delete what late objects and proofs no longer need."""
        values = {"hours": KEPT_HOURS, "most": FORGOTTEN_AT_ONCE}
        for statement in FORGET_OLD:
            while self._forget_some(statement, values) == FORGOTTEN_AT_ONCE:
                pass

    def _forget_some(self, statement: TextClause, values: dict[str, Any]) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            forgotten = session.connection().execute(statement, values).rowcount
            session.commit()
        return forgotten


def _close(
    connection: Connection, statement: TextClause, kind: str, values: dict[str, Any]
) -> tuple[list[ClosedEntity], list[int]]:
    """Close entities, write them into the feed, and return them with their ids."""
    rows = [dict(row) for row in connection.execute(statement, values).mappings()]
    ids = [row.pop("id") for row in rows]
    found = [ClosedEntity(**row | {"reason": CompletionReason(row["reason"])}) for row in rows]
    if found:
        connection.execute(
            APPEND_CHANGES,
            {
                "kind": kind,
                "studies": [c.study_instance_uid for c in found],
                "series": [c.series_instance_uid for c in found],
                "reasons": [str(c.reason) for c in found],
                "numbers": [c.new_instances for c in found],
            },
        )
    return found, ids
