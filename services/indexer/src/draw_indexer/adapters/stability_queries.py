"""Finds and closes series and studies that receive nothing more."""

from typing import Any, Final

from sqlalchemy import TextClause, text
from typing_extensions import override

from draw_indexer.models import ClosedEntity
from draw_indexer.ports.stability import StabilityRepository
from draw_shared.db.feed import SERIES_STABLE, STUDY_STABLE, take_turn
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

MAX_CLOSED_AT_ONCE: Final = 500

# Objects may be indexed long after their reception, so both times must be quiet.
QUIET: Final = (
    "stable_at IS NULL AND last_received_at < now() - make_interval(secs => :seconds)"
    " AND updated_at < now() - make_interval(secs => :seconds)"
)
ANY_QUIET: Final = text(
    f"SELECT EXISTS (SELECT FROM series WHERE {QUIET})"  # noqa: S608 - constants
    f" OR EXISTS (SELECT FROM studies WHERE {QUIET})"
)


def _close(statement: str) -> TextClause:
    return text(statement.replace("QUIET", QUIET))


CLOSE_SERIES: Final = _close(
    """
    WITH quiet AS (SELECT id FROM series WHERE QUIET ORDER BY last_received_at LIMIT :most),
    closed AS (UPDATE series r SET stable_at = now() FROM quiet q WHERE r.id = q.id
        RETURNING r.study_pk, r.series_instance_uid, r.instance_count)
    SELECT s.study_instance_uid, c.series_instance_uid, 1 AS series,
        c.instance_count AS instances
    FROM closed c JOIN studies s ON s.id = c.study_pk ORDER BY 1, 2
    """
)
CLOSE_STUDIES: Final = _close(
    """
    WITH quiet AS (SELECT id FROM studies WHERE QUIET ORDER BY last_received_at LIMIT :most),
    closed AS (UPDATE studies s SET stable_at = now() FROM quiet q WHERE s.id = q.id
        RETURNING s.study_instance_uid, s.series_count, s.instance_count)
    SELECT study_instance_uid, '' AS series_instance_uid, series_count AS series,
        instance_count AS instances
    FROM closed ORDER BY 1
    """
)
APPEND_CHANGES: Final = text(
    """
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid)
    SELECT CAST(:kind AS text), study, series FROM unnest(CAST(:studies AS text[]),
        CAST(:series AS text[])) WITH ORDINALITY AS k (study, series, place) ORDER BY place
    """
)


class PostgresStabilityRepository(StabilityRepository):
    """Closes quiet series and studies in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def close_quiet(self, seconds: float) -> tuple[list[ClosedEntity], list[ClosedEntity]]:
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            if not connection.execute(ANY_QUIET, {"seconds": seconds}).scalar():
                return [], []
            take_turn(connection)

            def closed(statement: TextClause, kind: str) -> list[ClosedEntity]:
                values: dict[str, Any] = {"seconds": seconds, "most": MAX_CLOSED_AT_ONCE}
                rows = connection.execute(statement, values).mappings()
                found = [ClosedEntity(**row) for row in rows]
                if found:
                    connection.execute(
                        APPEND_CHANGES,
                        {
                            "kind": kind,
                            "studies": [c.study_instance_uid for c in found],
                            "series": [c.series_instance_uid for c in found],
                        },
                    )
                return found

            series = closed(CLOSE_SERIES, SERIES_STABLE)
            studies = closed(CLOSE_STUDIES, STUDY_STABLE)
            session.commit()
        return series, studies
