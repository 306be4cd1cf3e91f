"""Monthly partitions of the transaction log.

A line whose month has no partition lies in the default one, so that nothing is ever refused.
A month gets its partition before it begins; lines that came too early are moved into it.
A month whose time is over goes as a whole, and a line of the log says up to which position of
the hash chain lines may be missing since.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, text

PARTITION_LOCK: Final = 0x44524150
"""Key of the advisory lock under which partitions are made, one process at a time."""


def months(first: date, *, ahead: int) -> list[date]:
    """Return the first days of the month of `first` and of so many months behind it."""
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
    """Yield the statements that make the partitions of an empty log."""
    for month in months(first, ahead=ahead):
        yield (
            f"CREATE TABLE {partition_name(month)} PARTITION OF transactions"
            f" FOR VALUES {_limits(month)}"
        )


def ensure_months(connection: Connection, first: date, *, ahead: int) -> list[str]:
    """Make the partitions that are missing and return their names; the caller commits.

    Writers wait while a partition is made; several processes may do this at once.
    """
    wanted = {partition_name(month): month for month in months(first, ahead=ahead)}
    missing = _missing(connection, wanted)
    if not missing:
        return []
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK})
    missing = _missing(connection, wanted)
    for name in missing:
        _make(connection, name, wanted[name])
    return missing


@dataclass(frozen=True, slots=True)
class Dropped:
    """Lines whose time was over."""

    months: tuple[str, ...]
    lines: int
    last_position: int
    """The highest position in the hash chain among them; 0 when none was chained."""


def first_kept(today: date, *, months_kept: int) -> date:
    """Return the first day of the oldest month that is kept: so many whole ones before today's."""
    number = today.year * 12 + today.month - 1 - months_kept
    return date(max(1, number // 12), number % 12 + 1, 1)


def drop_before(connection: Connection, first: date, *, replica: str) -> Dropped | None:
    """Drop every month before that of `first` and say so in the log; None when there was none.

    The caller commits. Writers wait while a month is dropped, which takes no time.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK})
    names = [
        name
        for name in connection.execute(OLD_NAMES).scalars()
        if name < partition_name(first.replace(day=1))
    ]
    before = {"first": _midnight(first.replace(day=1))}
    lines = position = 0
    for statement in (*(f"SELECT * FROM {name}" for name in names), EARLY):  # noqa: S608 - a month's name
        counted = text(f"SELECT count(*), coalesce(max(chain_position), 0) FROM ({statement}) old")  # noqa: S608
        found = connection.execute(counted, before if statement is EARLY else {}).one()
        lines, position = lines + found[0], max(position, found[1])
    if not names and not lines:
        return None
    for name in names:
        connection.execute(text(f"DROP TABLE {name}"))
    connection.execute(FORGET_EARLY, before)
    dropped = Dropped(tuple(names), lines, position)
    connection.execute(
        SAY_DROPPED,
        {
            "record_id": uuid4(),
            "replica": replica,
            "detail": f"{lines} lines before {first:%Y-%m}, up to position {position}",
        },
    )
    return dropped


OLD_NAMES: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'transactions'::regclass"
    " AND c.relname ~ '^transactions_[0-9]{4}_[0-9]{2}$' ORDER BY c.relname"
)
EARLY: Final = "SELECT * FROM transactions_default WHERE occurred_at < :first"
FORGET_EARLY: Final = text("DELETE FROM transactions_default WHERE occurred_at < :first")
SAY_DROPPED: Final = text(
    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, actor, action,"
    " detail) VALUES (:record_id, now(), 'management', 'success', :replica, 'system',"
    " 'transactions.drop', :detail)"
)


def _missing(connection: Connection, wanted: dict[str, date]) -> list[str]:
    found = connection.execute(
        text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND relkind = 'r'"),
        {"names": list(wanted)},
    ).scalars()
    return sorted(set(wanted) - set(found))


def _make(connection: Connection, name: str, month: date) -> None:
    end = months(month, ahead=1)[1]
    connection.execute(text("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE"))
    connection.execute(text(f"CREATE TABLE {name} (LIKE transactions INCLUDING DEFAULTS)"))
    moved = {"first": _midnight(month), "end": _midnight(end)}
    connection.execute(
        text(
            "WITH early AS (DELETE FROM transactions_default"  # noqa: S608 - a month's name
            " WHERE occurred_at >= :first AND occurred_at < :end RETURNING *)"
            f" INSERT INTO {name} SELECT * FROM early"
        ),
        moved,
    )
    connection.execute(
        text(f"ALTER TABLE transactions ATTACH PARTITION {name} FOR VALUES {_limits(month)}")
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
