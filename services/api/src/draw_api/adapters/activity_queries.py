"""Reads from PostgreSQL what was received by minutes and days.

Each minute is summed once and remembered. Only the last few minutes are read again, because
journals may still add lines to them, so an hour of a busy receiver costs only its last minutes.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.activity import ReceivedDay, ReceivedMinute, Throughput
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.storage import Forecast
from draw_api.models.webhooks import Change
from draw_api.ports.activity import ReceptionRepository

SHOWN: Final = timedelta(hours=1)
UNSETTLED: Final = timedelta(minutes=3)
KEPT: Final = timedelta(seconds=4)
OUTLOOK_CACHE_SECONDS: Final = 60.0

MINUTES: Final = text(
    """
    SELECT date_trunc('minute', occurred_at) AS minute, count(*) AS objects,
        coalesce(sum(size_bytes), 0)::bigint AS size_bytes
    FROM transactions
    WHERE kind = 'c-store' AND outcome IN ('success', 'warning') AND occurred_at >= :since
    GROUP BY 1 ORDER BY 1
    """
)
DAYS: Final = text(
    "SELECT day, objects, size_bytes FROM reception_days WHERE day > current_date - 30 ORDER BY day"
)

COLUMNS: Final = (
    "sequence, kind, occurred_at, study_instance_uid, series_instance_uid, sop_instance_uid"
)
CHANGES: Final = text(
    f"SELECT {COLUMNS} FROM changes WHERE sequence < :before"  # noqa: S608 - our own words
    " ORDER BY sequence DESC LIMIT :limit"
)
# Only the index of kinds has this order: otherwise a rare kind is searched for among all.
CHANGES_OF_KIND: Final = text(
    f"SELECT {COLUMNS} FROM changes"  # noqa: S608 - our own words
    " WHERE (kind, sequence) < (:kind, :before) AND (kind, sequence) > (:kind, 0)"
    " ORDER BY kind DESC, sequence DESC LIMIT :limit"
)
LAST: Final = 2**63 - 1


class RecentMinutes:
    """The sums of past minutes, shared by all requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minutes: dict[datetime, ReceivedMinute] = {}
        self._read_at: datetime | None = None

    def read(self, session: Session) -> list[ReceivedMinute]:
        """Return the minutes of the last hour in which objects arrived."""
        with self._lock:
            now = datetime.now(UTC)
            if self._read_at is None or now - self._read_at > KEPT:
                self._add_up(session, now)
            return [self._minutes[minute] for minute in sorted(self._minutes)]

    def _add_up(self, session: Session, now: datetime) -> None:
        oldest = now.replace(second=0, microsecond=0) - SHOWN
        since = oldest if self._read_at is None else max(oldest, self._read_at - UNSETTLED)
        since = since.replace(second=0, microsecond=0)
        rows = session.connection().execute(MINUTES, {"since": since}).mappings()
        fresh = {row["minute"]: ReceivedMinute.model_validate(row) for row in rows}
        kept = {minute: held for minute, held in self._minutes.items() if oldest <= minute < since}
        self._minutes, self._read_at = kept | fresh, now


class RecentOutlook:
    """The latest forecast, shared by all requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Forecast | None = None
        self._until = 0.0

    def read(self, find: Callable[[], Forecast]) -> Forecast:
        """Return the forecast, at most a minute old."""
        with self._lock:
            if self._found is None or time.monotonic() >= self._until:
                self._found = find()
                self._until = time.monotonic() + OUTLOOK_CACHE_SECONDS
            return self._found


class PostgresReceptionRepository(ReceptionRepository):
    """Recent receptions and changes, within one transaction."""

    def __init__(self, session: Session, recent: RecentMinutes) -> None:
        self._session = session
        self._recent = recent

    @override
    def throughput(self) -> Throughput:
        days = self._session.connection().execute(DAYS).mappings()
        return Throughput(
            minutes=self._recent.read(self._session),
            days=[ReceivedDay.model_validate(row) for row in days],
        )

    @override
    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        before = decode_cursor(cursor, (int,))[0] if cursor is not None else LAST
        asked = {"before": before, "limit": limit + 1} | ({"kind": kind} if kind else {})
        statement = CHANGES_OF_KIND if kind else CHANGES
        rows = self._session.connection().execute(statement, asked).mappings()
        return page_of(
            [(encode_cursor(row["sequence"]), Change.model_validate(row)) for row in rows], limit
        )
