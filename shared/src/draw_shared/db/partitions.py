"""Monthly partitions of the transaction log.

A line whose month has no partition goes into the default one, so no line is ever refused. A
month gets its partition before it begins; earlier lines of that month are moved into it. A month
beyond its retention is dropped as a whole; first the log states exactly which lines of the hash
chain will be missing and which lines surround them. The table owner's functions create and drop
partitions; their callers may otherwise only add lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from draw_shared.db import transaction_chain, transaction_gaps
from draw_shared.db.transaction_chain import Head, Sealing
from draw_shared.wording import message

PARTITION_LOCK: Final = 0x44524150
"""Key of the advisory lock under which one process at a time creates partitions."""


def months(first: date, *, ahead: int) -> list[date]:
    """Return the first days of the month of `first` and of the `ahead` months after it."""
    found = [first.replace(day=1)]
    while len(found) <= ahead:
        found.append((found[-1] + timedelta(days=31)).replace(day=1))
    return found


def partition_name(month: date) -> str:
    """Return the name of a month's partition."""
    return f"transactions_{month:%Y_%m}"


def _limits(month: date) -> str:
    """Return the bounds of a month, in UTC whatever the session's time zone is."""
    end = months(month, ahead=1)[1]
    return f"FROM ('{month:%Y-%m-%d} 00:00:00+00') TO ('{end:%Y-%m-%d} 00:00:00+00')"


def month_statements(first: date, *, ahead: int) -> Iterator[str]:
    """Yield the statements that create the partitions of an empty log."""
    for month in months(first, ahead=ahead):
        yield (
            f"CREATE TABLE {partition_name(month)} PARTITION OF transactions"
            f" FOR VALUES {_limits(month)}"
        )


def ensure_months(connection: Connection, first: date, *, ahead: int) -> list[str]:
    """Create the missing partitions and return their names; the caller commits.

    Writers wait while a partition is created; several processes may call this at once.
    """
    wanted = {partition_name(month): month for month in months(first, ahead=ahead)}
    missing = _missing(connection, wanted)
    if not missing:
        return []
    connection.execute(TAKE_TURN, {"key": PARTITION_LOCK})
    missing = _missing(connection, wanted)
    for name in missing:
        connection.execute(MAKE_MONTH, {"month": wanted[name]})
    return missing


@dataclass(frozen=True, slots=True)
class Dropped:
    """The lines that were dropped."""

    months: tuple[str, ...]
    lines: int


def first_kept(today: date, *, months_kept: int) -> date:
    """Return the first day of the oldest kept month, `months_kept` whole months before today's."""
    number = today.year * 12 + today.month - 1 - months_kept
    return date(max(1, number // 12), number % 12 + 1, 1)


def drop_before(
    connection: Connection, first: date, *, replica: str, sealing: Sealing | None = None
) -> Dropped | None:
    """State in the log which lines go, then drop every month before `first`; None without any.

    The caller commits. Writers wait until then, also while the positions are read.

    Raises:
        NotAsSealed: a line to drop does not match its seal; nothing is dropped.
    """
    connection.execute(TAKE_TURN, {"key": PARTITION_LOCK})
    names = [
        name
        for name in connection.execute(OLD_NAMES).scalars()
        if name < partition_name(first.replace(day=1))
    ]
    before = {"first": _midnight(first.replace(day=1))}
    if not names and not connection.execute(COUNT_OLD, before).scalar():
        return None
    if sealing is not None:
        transaction_gaps.require_genuine(connection, _old_runs(connection, before), sealing)
    # An unchained line would leave no gap in the chain and vanish unnoticed.
    transaction_chain.extend_whole(connection, sealing)
    lines = connection.execute(COUNT_OLD, before).scalar() or 0
    runs = _old_runs(connection, before)
    if runs:
        why = message("dropped with the months before %(first)s", first=format(first, "%Y-%m"))
        transaction_gaps.say_missing(connection, runs, why, replica, sealing)
    connection.execute(DROP_MONTHS, {"first": first})
    return Dropped(tuple(names), lines)


def _old_runs(connection: Connection, before: dict[str, datetime]) -> list[tuple[int, int]]:
    return [(row.first, row.last) for row in connection.execute(OLD_RUNS, before)]


def begin_sealing(connection: Connection, sealing: Sealing) -> Head | None:
    """State once in the log that sealing begins; no month is dropped until the commit."""
    if not transaction_gaps.is_to_begin(connection, sealing):
        return None
    connection.execute(TAKE_TURN, {"key": PARTITION_LOCK})
    return transaction_gaps.begin(connection, sealing)


COUNT_OLD: Final = text("SELECT count(*) FROM transactions WHERE occurred_at < :first")
OLD_RUNS: Final = text(
    """
    SELECT min(chain_position) AS first, max(chain_position) AS last FROM (
        SELECT chain_position, chain_position - row_number() OVER (ORDER BY chain_position) AS run
        FROM transactions WHERE occurred_at < :first AND chain_position IS NOT NULL) numbered
    GROUP BY run ORDER BY 1
    """
)
TAKE_TURN: Final = text("SELECT pg_advisory_xact_lock(:key)")
OLD_NAMES: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'transactions'::regclass"
    " AND c.relname ~ '^transactions_[0-9]{4}_[0-9]{2}$' ORDER BY c.relname"
)
MAKE_MONTH: Final = text("SELECT make_transaction_month(:month)")
DROP_MONTHS: Final = text("SELECT drop_transaction_months(:first)")


def _missing(connection: Connection, wanted: dict[str, date]) -> list[str]:
    found = connection.execute(
        text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND relkind = 'r'"),
        {"names": list(wanted)},
    ).scalars()
    return sorted(set(wanted) - set(found))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
