"""Reads the change feed for its consumers, each from its own position."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from draw_indexer.models import SeriesObject, StableSeries
from draw_indexer.ports.handing_over import FeedReader, FeedRepository
from draw_shared.db.feed import SERIES_STABLE
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database, answering_outages

AT_ONCE: Final = 100
TRIMMED_AT_ONCE: Final = 10_000

TRY_LOCK: Final = text("SELECT pg_try_advisory_lock(:key)")
UNLOCK: Final = text("SELECT pg_advisory_unlock(:key)")
# A new consumer starts with the changes that happen from now on.
BEGIN: Final = text(
    "INSERT INTO feed_positions (consumer, sequence)"
    " SELECT :consumer, coalesce(max(sequence), 0) FROM changes ON CONFLICT DO NOTHING"
)
ADVANCE: Final = text(
    "UPDATE feed_positions SET sequence = :sequence, updated_at = now()"
    " WHERE consumer = :consumer AND sequence < :sequence"
)
LAST: Final = text("SELECT max(sequence) FROM changes")
STABLE: Final = text(
    """
    SELECT c.sequence, c.study_instance_uid, c.series_instance_uid FROM changes c
    WHERE (c.kind, c.sequence) > (:kind,
            (SELECT sequence FROM feed_positions WHERE consumer = :consumer))
        AND (c.kind, c.sequence) <= (:kind, :last)
    ORDER BY c.kind, c.sequence LIMIT :most
    """
)
OBJECTS: Final = text(
    "SELECT i.sop_instance_uid, i.path FROM instances i JOIN series r ON r.id = i.series_pk"
    " WHERE r.series_instance_uid = :uid ORDER BY i.id"
)
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


class PostgresFeedRepository(FeedRepository):
    """The change feed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    @contextmanager
    def reading(self, consumer: str) -> Iterator["PostgresFeedReader | None"]:
        key = int.from_bytes(hashlib.sha256(consumer.encode()).digest()[:8], signed=True)
        with answering_outages(), self._database.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.execute(TRY_LOCK, {"key": key}).scalar():
                yield None
                return
            try:
                connection.execute(BEGIN, {"consumer": consumer})
                yield PostgresFeedReader(connection, consumer)
            finally:
                _unlock(connection, key)

    @override
    def objects_of(self, series_instance_uid: str) -> Sequence[SeriesObject]:
        with self._database.session() as session:
            found = session.connection().execute(OBJECTS, {"uid": series_instance_uid})
            return [SeriesObject(*row) for row in found]

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


class PostgresFeedReader(FeedReader):
    """One consumer's position, while this process holds its lock."""

    def __init__(self, connection: Connection, consumer: str) -> None:
        self._connection = connection
        self._consumer = consumer

    @override
    def stable_series(self) -> Sequence[StableSeries]:
        # Every change up to here is committed and visible: writers of the feed take turns.
        last = self._connection.execute(LAST).scalar() or 0
        values = {"consumer": self._consumer, "last": last, "kind": SERIES_STABLE, "most": AT_ONCE}
        found = [StableSeries(*row) for row in self._connection.execute(STABLE, values)]
        if not found:
            self.advance(last)
        return found

    @override
    def advance(self, sequence: int) -> None:
        self._connection.execute(ADVANCE, {"consumer": self._consumer, "sequence": sequence})

    @override
    def skip(self) -> None:
        self.advance(self._connection.execute(LAST).scalar() or 0)


def _unlock(connection: Connection, key: int) -> None:
    try:
        connection.execute(UNLOCK, {"key": key})
    except DBAPIError:
        # Otherwise the pooled connection would keep the lock.
        connection.invalidate()
