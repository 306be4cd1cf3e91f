"""Reads from PostgreSQL what was received by minutes and days, and how the last day went.

Each minute is summed once and remembered. Only the last few minutes are read again, because
journals may still add lines to them, so an hour of a busy receiver costs only its last minutes.
The day is kept in slots of some minutes, and read again as a whole every hour, because lines of
a receiver that could not reach the broker come late.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.activity import (
    LastDay,
    LastReceived,
    ReceivedDay,
    ReceivedMinute,
    Throughput,
)
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.storage import Forecast
from draw_api.models.webhooks import Change
from draw_api.ports.activity import ReceptionRepository

SHOWN: Final = timedelta(hours=1)
UNSETTLED: Final = timedelta(minutes=3)
KEPT: Final = timedelta(seconds=4)
OUTLOOK_CACHE_SECONDS: Final = 60.0
DAY: Final = timedelta(hours=24)
SLOT: Final = timedelta(minutes=5)
WHOLE_DAY_AGAIN: Final = timedelta(hours=1)

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
SLOTS: Final = text(
    """
    SELECT date_bin('5 minutes', occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00Z') AS slot,
        count(*) FILTER (WHERE kind = 'c-store' AND outcome IN ('success', 'warning')) AS stored,
        count(*) FILTER (WHERE kind = 'c-find') AS queried,
        count(*) FILTER (WHERE kind IN ('c-move', 'c-get')) AS retrieved,
        count(*) FILTER (WHERE kind = 'rejection') AS rejected,
        count(*) FILTER (WHERE kind LIKE 'c-%' AND outcome = 'failure') AS failed,
        coalesce(sum(size_bytes) FILTER (WHERE kind = 'c-store'
            AND outcome IN ('success', 'warning')), 0)::bigint AS stored_bytes,
        coalesce(sum(duration_seconds) FILTER (WHERE kind = 'c-store'
            AND outcome IN ('success', 'warning') AND size_bytes > 0), 0)::float AS seconds,
        coalesce(max(size_bytes / nullif(duration_seconds, 0)) FILTER (WHERE kind = 'c-store'
            AND outcome IN ('success', 'warning')), 0)::float AS peak
    FROM transactions
    WHERE kind IN ('c-store', 'c-find', 'c-move', 'c-get', 'c-echo', 'rejection')
        AND action IS DISTINCT FROM 'retrieve.begin' AND occurred_at >= :since
    GROUP BY 1
    """
)
# The index gives the newest series of each modality; the sums name the modalities that are there.
LAST_RECEIVED: Final = text(
    """
    SELECT m.name AS modality, r.last_received_at AS received_at,
        coalesce((SELECT i.calling_ae FROM instances i WHERE i.series_pk = r.id LIMIT 1), '')
            AS calling_ae
    FROM (SELECT name FROM index_totals WHERE kind = 'modality' AND number > 0
        ORDER BY number DESC LIMIT 100) m
    CROSS JOIN LATERAL (SELECT id, last_received_at FROM series WHERE modality = m.name
        ORDER BY last_received_at DESC LIMIT 1) r
    ORDER BY r.last_received_at DESC, m.name LIMIT :limit
    """
)

COLUMNS: Final = (
    "sequence, kind, occurred_at, study_instance_uid, series_instance_uid, sop_instance_uid,"
    " reason, new_instance_count"
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


@dataclass(frozen=True, slots=True)
class _Slot:
    """The sums of some minutes."""

    stored: int
    queried: int
    retrieved: int
    rejected: int
    failed: int
    stored_bytes: int
    seconds: float
    peak: float


class RecentDay:
    """The sums of the last day, shared by all requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[datetime, _Slot] = {}
        self._read_at: datetime | None = None
        self._whole_at: datetime | None = None

    def read(self, session: Session) -> LastDay:
        """Return the transactions of the last 24 hours, at most some seconds old."""
        with self._lock:
            now = datetime.now(UTC)
            if self._read_at is None or now - self._read_at > KEPT:
                self._add_up(session, now)
            found = self._slots.values()
            seconds = sum(slot.seconds for slot in found)
            stored_bytes = sum(slot.stored_bytes for slot in found)
            return LastDay(
                since=_slot_of(now - DAY),
                stored=sum(slot.stored for slot in found),
                stored_bytes=stored_bytes,
                queried=sum(slot.queried for slot in found),
                retrieved=sum(slot.retrieved for slot in found),
                rejected=sum(slot.rejected for slot in found),
                failed=sum(slot.failed for slot in found),
                mean_bytes_per_second=round(stored_bytes / seconds, 1) if seconds else None,
                peak_bytes_per_second=round(max((s.peak for s in found), default=0), 1) or None,
            )

    def _add_up(self, session: Session, now: datetime) -> None:
        oldest = _slot_of(now - DAY)
        whole = self._whole_at is None or now - self._whole_at > WHOLE_DAY_AGAIN
        since = (
            oldest
            if whole or self._read_at is None
            else max(oldest, _slot_of(self._read_at - UNSETTLED))
        )
        rows = session.connection().execute(SLOTS, {"since": since}).mappings()
        fresh = {
            row["slot"]: _Slot(**{k: v for k, v in row.items() if k != "slot"}) for row in rows
        }
        kept = {at: slot for at, slot in self._slots.items() if oldest <= at < since}
        self._slots, self._read_at = kept | fresh, now
        if whole:
            self._whole_at = now


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

    def __init__(self, session: Session, recent: RecentMinutes, day: RecentDay) -> None:
        self._session = session
        self._recent = recent
        self._day = day

    @override
    def throughput(self) -> Throughput:
        days = self._session.connection().execute(DAYS).mappings()
        return Throughput(
            minutes=self._recent.read(self._session),
            days=[ReceivedDay.model_validate(row) for row in days],
        )

    @override
    def last_day(self) -> LastDay:
        return self._day.read(self._session)

    @override
    def last_received(self, limit: int) -> Sequence[LastReceived]:
        rows = self._session.connection().execute(LAST_RECEIVED, {"limit": limit}).mappings()
        return [LastReceived.model_validate(row) for row in rows]

    @override
    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        before = decode_cursor(cursor, (int,))[0] if cursor is not None else LAST
        asked = {"before": before, "limit": limit + 1} | ({"kind": kind} if kind else {})
        statement = CHANGES_OF_KIND if kind else CHANGES
        rows = self._session.connection().execute(statement, asked).mappings()
        return page_of(
            [(encode_cursor(row["sequence"]), Change.model_validate(row)) for row in rows], limit
        )


def _slot_of(moment: datetime) -> datetime:
    """Return when the slot of a moment began."""
    return moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % SLOT
