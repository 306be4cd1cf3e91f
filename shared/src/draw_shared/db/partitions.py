"""Monthly partitions of the transaction log.

A line whose month has no partition lies in the default one, so that nothing is ever refused.
A month gets its partition before it begins; lines that came too early are moved into it.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

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
