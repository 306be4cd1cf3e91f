"""Several indexers at once: no deadlock, nothing lost, and a change feed without surprises."""

import random
import threading
import time
from contextlib import suppress

import pytest
from sqlalchemy import text

from draw_indexer.services.indexing import IndexingService
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.db.feed import take_turn
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from support import arrivals
from support.arrivals import arrival

pytestmark = pytest.mark.integration

WRITERS = 4


@pytest.fixture
def several(database_url):
    databases = [Database(database_url, pool_size=2) for _ in range(WRITERS)]
    yield databases
    for database in databases:
        database.dispose()


def indexing_of(database):
    return IndexingService(arrivals.index_in(database), lambda: DuplicatePolicy.KEEP_EXISTING)


def many(count):
    """Return objects of few studies, so that writers meet on every row."""
    return [
        arrival(
            f"1.{n}",
            series=f"2.{n % 7}",
            study=f"3.{n % 7 % 3}",
            patient=f"P{n % 7 % 3 % 2}",
            second=n % 5,
            PatientName=f"Name^{n % 7 % 3 % 2}",
            StudyDescription=f"of {n % 11}",
        )
        for n in range(count)
    ]


def test_writers_of_the_same_rows(database, several):
    objects = many(400)
    failures = []

    def work(own, seed):
        chance = random.Random(seed)
        shuffled = chance.sample(objects, len(objects))
        indexing = indexing_of(own)
        try:
            for at in range(0, len(shuffled), 25):
                indexing.index(shuffled[at : at + 25])
        except Exception as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(own, seed)) for seed, own in enumerate(several)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    together = arrivals.snapshot(database)
    changes = arrivals.rows(database, "SELECT sop_instance_uid FROM changes")
    assert len(changes) == len({row["sop_instance_uid"] for row in changes}) == len(objects)
    arrivals.empty(database)
    indexing_of(several[0]).index(objects)
    assert arrivals.snapshot(database) == together


def test_a_reader_of_the_change_feed_misses_nothing(database, several):
    done = threading.Event()
    seen = []

    def follow():
        last = 0
        while True:
            ending = done.is_set()
            found = arrivals.rows(
                database,
                "SELECT sequence, sop_instance_uid FROM changes WHERE sequence > :last"
                " ORDER BY sequence",
                last=last,
            )
            seen.extend(row["sop_instance_uid"] for row in found)
            last = found[-1]["sequence"] if found else last
            if ending and not found:
                return

    def write(own, number):
        indexing = indexing_of(own)
        for batch in range(15):
            indexing.index(
                [arrival(f"1.{number}.{batch}.{n}", series=f"2.{number}") for n in range(4)]
            )

    reader = threading.Thread(target=follow)
    reader.start()
    writers = [threading.Thread(target=write, args=each) for each in zip(several, range(4))]  # noqa: B905
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(seen) == len(set(seen)) == WRITERS * 15 * 4
    # With the moments of the transactions' beginnings, these writers went back many times.
    assert steps_back(database) == 0


def test_moments_of_the_feed_do_not_follow_a_clock_that_is_set_back(database, several):
    with database.session() as session:
        session.connection().execute(
            text(
                "INSERT INTO changes (kind, occurred_at)"
                " VALUES ('study.stable', now() + interval '1 hour')"
            )
        )
        session.commit()
    indexing_of(several[0]).index([arrival("1.1"), arrival("1.2")])
    indexing_of(several[1]).index([arrival("1.3")])
    assert len(arrivals.rows(database, "SELECT 1 FROM changes")) == 4
    assert steps_back(database) == 0


def steps_back(database):
    """Return how many entries of the feed are older than the one before them."""
    (row,) = arrivals.rows(
        database,
        "SELECT count(*) FILTER (WHERE occurred_at < before) AS number FROM (SELECT occurred_at,"
        " lag(occurred_at) OVER (ORDER BY sequence) AS before FROM changes) pairs",
    )
    return row["number"]


def test_a_writer_waits_for_its_turn(database, several):
    with database.session() as session:
        take_turn(session.connection())
        waiting = threading.Thread(target=lambda: indexing_of(several[0]).index([arrival()]))
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        assert arrivals.rows(database, "SELECT 1 FROM instances") == []
    waiting.join(10)
    assert len(arrivals.rows(database, "SELECT 1 FROM instances")) == 1


def test_a_deadlock_with_who_deletes_is_transient(database, several):
    """Whoever deletes a study holds rows in another order; PostgreSQL gives one of them up."""
    objects = [arrival("1.1", study="3.1", series="2.1"), arrival("1.2", study="3.1", series="2.1")]
    indexing = indexing_of(several[0])
    indexing.index(objects[:1])
    outcomes = []

    def insist():
        while True:
            try:
                outcomes.append(indexing.index(objects[1:]))
            except Transient as error:
                outcomes.append(error)
            else:
                return

    waiting = threading.Thread(target=insist)
    with database.session() as session:
        session.connection().execute(text("SELECT 1 FROM studies FOR UPDATE"))
        waiting.start()
        time.sleep(0.3)
        # The other holds rows below the study by now.
        with suppress(Transient):
            session.connection().execute(text("SELECT 1 FROM series FOR UPDATE"))
    waiting.join(20)
    assert not waiting.is_alive()
    assert len(arrivals.rows(database, "SELECT 1 FROM instances")) == 2
