"""The hash chain over the transaction log notices every change that it promises to notice."""

import threading
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_shared.db import transaction_chain
from draw_shared.db.session import Database
from draw_shared.db.transaction_verification import verify
from support import arrivals
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

INSERT = text(
    """
    INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, detail,
        duration_seconds, status)
    VALUES (:id, now() + make_interval(secs => :after), 'c-store', 'success', 'scp', :detail,
        0.1, 0)
    """
)
LATER = """
    UPDATE transactions SET occurred_at = occurred_at + interval '1 microsecond'
    WHERE chain_position = 2
    """
FORGED = """
    INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, chain_position,
        chain_hash)
    SELECT gen_random_uuid(), now(), 'c-echo', 'success', '', 6, sha256('x')
    """


def write(database, *details):
    with database.session() as session:
        for after, detail in enumerate(details):
            values = {"id": uuid4(), "after": after, "detail": detail}
            session.connection().execute(INSERT, values)
        session.commit()


def extend(database, most=1000):
    with database.session() as session:
        head = transaction_chain.extend(session.connection(), most=most)
        session.commit()
    return head


def check(database, *known):
    with database.session() as session:
        return verify(session.connection(), known)


def tamper(database, statement):
    with database.session() as session:
        assert session.connection().execute(text(statement)).rowcount == 1
        session.commit()


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def database(own_database):
    arrivals.empty(own_database)
    return own_database


@pytest.fixture
def chained(database):
    write(database, "one", "zwei\nä", None, "four", "five")
    extend(database)
    return database


def test_a_chain_grows_in_steps_and_holds(database):
    write(database, "a", "b", "c")
    assert extend(database, 2).position == 2
    assert extend(database, 2).position == 3
    assert extend(database, 2) is None
    write(database, "d")
    assert extend(database).position == 4
    found = check(database)
    assert (found.lines, found.breaks, found.first_position) == (4, (), 1)


def test_lines_of_several_months_are_one_chain(database):
    write(database, "now")
    with database.session() as session:
        for after in (-40 * 86400, 70 * 86400):
            values = {"id": uuid4(), "after": after, "detail": "elsewhere"}
            session.connection().execute(INSERT, values)
        session.commit()
    extend(database)
    assert check(database).lines == 3
    assert check(database).breaks == ()


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("UPDATE transactions SET detail = 'other' WHERE chain_position = 3", 3),
        ("UPDATE transactions SET status = NULL WHERE chain_position = 1", 1),
        (LATER, 2),
        ("DELETE FROM transactions WHERE chain_position = 2", 3),
        ("UPDATE transactions SET chain_hash = sha256('x') WHERE chain_position = 4", 4),
        ("UPDATE transactions SET chain_position = NULL WHERE chain_position = 5", 0),
        (FORGED, 6),
    ],
)  # fmt: skip
def test_what_was_changed_is_found(chained, change, position):
    assert check(chained).breaks == ()
    tamper(chained, change)
    assert position in {found.position for found in check(chained).breaks}


def test_a_chain_that_was_computed_anew_contradicts_a_head_kept_elsewhere(chained):
    known = check(chained).head
    with chained.session() as session:
        session.connection().execute(
            text("UPDATE transactions SET chain_hash = NULL, chain_position = NULL")
        )
        session.connection().execute(
            text("UPDATE transactions SET detail = 'forged' WHERE detail = 'one'")
        )
        session.commit()
    extend(chained)
    assert check(chained).breaks == ()
    assert check(chained, known).breaks


def test_a_cut_end_contradicts_a_head_kept_elsewhere(chained):
    known = check(chained).head
    tamper(chained, "DELETE FROM transactions WHERE chain_position = 5")
    assert check(chained).breaks == ()
    assert check(chained, known).breaks


def test_the_end_of_a_chain_is_in_every_later_one(chained):
    known = check(chained).head
    write(chained, "six")
    extend(chained)
    assert check(chained, known).breaks == ()


def test_several_processes_make_one_chain(database):
    write(database, *(str(n) for n in range(200)))

    def grow():
        own = Database(database.engine.url.render_as_string(hide_password=False))
        # Who finds another at it does nothing: a number of tries would bring no end about.
        wait_until(lambda: (extend(own, 20), check(own).lines == 200)[1])
        own.dispose()

    threads = [threading.Thread(target=grow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(database).lines == 200
    assert check(database).breaks == ()
