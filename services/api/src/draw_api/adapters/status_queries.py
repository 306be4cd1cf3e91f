"""Reads replicas and sums over the index from PostgreSQL."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.status import ReplicaRow, Totals
from draw_api.ports.status import StatusRepository

TOTALS_CACHE_SECONDS: Final = 5.0

# Stopped and vanished replicas are shown for a day.
REPLICAS: Final = text(
    """
    SELECT replica, service, host, address, state, started_at, heartbeat_at,
        greatest(0, extract(epoch FROM now() - heartbeat_at))::float AS heartbeat_age_seconds,
        greatest(0, extract(epoch FROM now() - started_at))::float AS uptime_seconds,
        active_associations, config_version, last_error, details
    FROM service_replicas WHERE heartbeat_at > now() - interval '1 day'
    ORDER BY service, replica
    """
)
RECEIVED: Final = text(
    "SELECT coalesce(sum(objects), 0)::bigint AS objects,"
    " coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM reception_days"
)
STORED: Final = text(
    "SELECT coalesce(sum(number), 0)::bigint AS studies,"
    " coalesce(sum(instances), 0)::bigint AS instances,"
    " coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM index_totals WHERE kind = 'studies'"
)


class RecentTotals:
    """Caches the sums for some seconds: with a million studies they are slow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Totals | None = None
        self._until = 0.0

    def read(self, session: Session) -> Totals:
        """Return the sums, at most five seconds old."""
        with self._lock:
            if self._found is None or time.monotonic() >= self._until:
                self._found = _totals(session)
                self._until = time.monotonic() + TOTALS_CACHE_SECONDS
            return self._found


class PostgresStatusRepository(StatusRepository):
    """The state of the suite in the database, within one transaction."""

    def __init__(self, session: Session, totals: RecentTotals) -> None:
        self._session = session
        self._totals = totals

    @override
    def replicas(self) -> Sequence[ReplicaRow]:
        rows = self._session.connection().execute(REPLICAS).mappings()
        return [ReplicaRow(**row) for row in rows]

    @override
    def totals(self) -> Totals:
        return self._totals.read(self._session)


def _totals(session: Session) -> Totals:
    received = session.connection().execute(RECEIVED).one()
    stored = session.connection().execute(STORED).one()
    return Totals(
        received_objects=received.objects,
        received_bytes=received.size_bytes,
        stored_studies=stored.studies,
        stored_instances=stored.instances,
        stored_bytes=stored.size_bytes,
    )
