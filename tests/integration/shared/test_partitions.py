"""Months of the transaction log: made before they begin, dropped when their time is over."""

from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_shared.db import partitions, transaction_chain
from draw_shared.db.transaction_verification import verify

pytestmark = pytest.mark.integration


@pytest.fixture
def connection(database):
    with database.session() as session:
        yield session.connection()


def write(connection, *moments):
    for moment in moments:
        connection.execute(
            text(
                "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica)"
                " VALUES (:id, :at, 'c-echo', 'success', 'scp')"
            ),
            {"id": uuid4(), "at": moment},
        )
        transaction_chain.extend(connection)


def at(year, month, day):
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("today", "kept", "first"),
    [
        (date(2026, 11, 24), 1, date(2026, 10, 1)),
        (date(2026, 11, 24), 11, date(2025, 12, 1)),
        (date(2026, 11, 24), 24, date(2024, 11, 1)),
        (date(2026, 1, 31), 1, date(2025, 12, 1)),
    ],
)
def test_whole_months_before_the_current_one_are_kept(today, kept, first):
    assert partitions.first_kept(today, months_kept=kept) == first


def test_old_months_go_and_the_chain_still_holds(connection):
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=2)
    # The last line of January came late; that of 2019 lies in the default partition.
    write(connection, at(2019, 12, 31), at(2020, 1, 5), at(2020, 2, 1), at(2020, 1, 31))
    write(connection, at(2020, 2, 2), at(2020, 3, 1))
    assert not verify(connection).breaks
    dropped = partitions.drop_before(connection, date(2020, 2, 1), replica="one")
    assert (dropped.months, dropped.lines) == (("transactions_2020_01",), 3)
    found = verify(connection)
    assert (found.breaks, found.first_position, found.lines) == ((), 3, 5)
    assert partitions.drop_before(connection, date(2020, 2, 1), replica="one") is None
    said = connection.execute(
        text("SELECT detail FROM transactions WHERE action = 'transactions.drop' ORDER BY id")
    ).scalars()
    assert [words.partition(",")[0] for words in said] == ["lines 1 to 2", "lines 4 to 4"]


def test_the_release_before_finds_no_breach_in_what_was_dropped(connection):
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=1)
    write(connection, at(2020, 1, 5), at(2020, 1, 6), at(2020, 2, 1))
    partitions.drop_before(connection, date(2020, 2, 1), replica="one")
    # By these words it knows up to where lines may be missing.
    words = "substring(detail FROM 'up to position ([0-9]{1,18})$')"
    statement = f"SELECT {words} FROM transactions WHERE action = 'transactions.drop'"  # noqa: S608
    assert connection.execute(text(statement)).scalar() == "2"


def test_a_line_that_is_missing_later_is_still_noticed(connection):
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=2)
    write(connection, at(2020, 1, 5), at(2020, 2, 1), at(2020, 2, 2), at(2020, 2, 3))
    partitions.drop_before(connection, date(2020, 2, 1), replica="one")
    connection.execute(text("DELETE FROM transactions WHERE chain_position = 3"))
    (broken,) = verify(connection).breaks
    assert (broken.position, broken.reason) == (4, "1 lines are missing")
