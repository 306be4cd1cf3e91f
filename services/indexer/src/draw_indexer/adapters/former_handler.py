"""The handler's settings that a release before may still have in force: they become a rule.

The migration has made one of them, unless an indexer of the release before was handing over at that
moment. Such an indexer goes on until it is replaced.
"""

from typing import Final

import structlog
from sqlalchemy import text

from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

log = structlog.get_logger()

TAKE_OVER: Final = text("SELECT hand_over_by_rules()")
# An indexer of the release before knows within a second that it has nothing to hand over. If that
# release is back one day, it starts anew; until then the position must not keep changes.
FORGET: Final = text(
    """
    DELETE FROM feed_positions
    WHERE consumer = 'handler' AND updated_at < now() - interval '1 minute'
        AND NOT EXISTS (SELECT FROM (
            SELECT document FROM server_config ORDER BY version DESC LIMIT 1) c
            WHERE c.document -> 'handler' IS NOT NULL)
    """
)


class FormerHandler:
    """The section `handler` of the configuration in force, if there is one, and its consumer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_over(self) -> None:
        """Make a rule of it, unless an indexer of the release before is handing over."""
        with self._database.session() as session:
            require_served_schema(session)
            became_rule = session.connection().execute(TAKE_OVER).scalar()
            session.connection().execute(FORGET)
            session.commit()
        if became_rule:
            log.info("handler.became_rule")
