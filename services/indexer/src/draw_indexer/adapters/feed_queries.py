"""Forgets old entries of the change feed."""

from typing import Final

from sqlalchemy import text

from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

TRIMMED_AT_ONCE: Final = 10_000

# Keep changes that a consumer has not read, however old they are.
TRIM: Final = text(
    """
    DELETE FROM changes WHERE sequence = ANY(ARRAY(
        SELECT sequence FROM changes
        WHERE sequence <= (SELECT coalesce(min(sequence), 0) FROM feed_positions)
        ORDER BY sequence LIMIT :most))
    AND occurred_at < now() - make_interval(days => :days)
    """
)


class PostgresFeedRepository:
    """The change feed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def trim(self, days: int) -> None:
        """Delete old changes that every consumer here has read."""
        while self._trim(days) == TRIMMED_AT_ONCE:
            pass

    def _trim(self, days: int) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            values = {"days": days, "most": TRIMMED_AT_ONCE}
            trimmed = session.connection().execute(TRIM, values).rowcount
            session.commit()
        return trimmed
