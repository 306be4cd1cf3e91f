"""Series and studies are closed after their quiet period, once, and opened again."""

import threading

import pytest
from sqlalchemy import text

from draw_indexer.adapters.stability_queries import PostgresStabilityRepository
from draw_indexer.services.indexing import IndexingService
from draw_indexer.services.stability import StabilityService
from draw_shared.contracts.instance import SeriesStableV1, StudyStableV1
from draw_shared.contracts.server_config import DuplicatePolicy
from support import arrivals
from support.arrivals import arrival

pytestmark = pytest.mark.integration

QUIET_SECONDS = 60


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def database(own_database):
    arrivals.empty(own_database)
    return own_database


@pytest.fixture
def index(database):
    indexing = IndexingService(arrivals.index_in(database), lambda: DuplicatePolicy.KEEP_EXISTING)
    return lambda *batch: indexing.index(batch)


class Closing:
    def __init__(self, database):
        self.announced = []
        self.counted = {}
        self.close_quiet = StabilityService(
            PostgresStabilityRepository(database),
            lambda: QUIET_SECONDS,
            self.announced.append,
            self._count,
        ).close_quiet

    def _count(self, level, number):
        self.counted[level] = self.counted.get(level, 0) + number


@pytest.fixture
def closing(database):
    return Closing(database)


def make_quiet(database, table, seconds=QUIET_SECONDS + 5):
    with database.session() as session:
        session.connection().execute(
            text(
                f"UPDATE {table} SET updated_at = now() - make_interval(secs => :s),"  # noqa: S608
                " last_received_at = now() - make_interval(secs => :s)"
            ),
            {"s": seconds},
        )
        session.commit()


def changes(database):
    found = arrivals.rows(
        database,
        "SELECT kind, series_instance_uid FROM changes WHERE kind <> 'instance.stored'"
        " ORDER BY sequence",
    )
    return [tuple(row.values()) for row in found]


def test_what_is_quiet_is_closed_and_announced_once(database, index, closing):
    index(arrival("1.1", series="2.1"), arrival("1.2", series="2.2"), arrival("1.3", series="2.2"))
    closing.close_quiet()
    assert closing.announced == []
    make_quiet(database, "series")
    make_quiet(database, "studies")
    closing.close_quiet()
    closing.close_quiet()
    assert changes(database) == [
        ("series.stable", "2.1"),
        ("series.stable", "2.2"),
        ("study.stable", ""),
    ]
    first, second, study = closing.announced
    assert isinstance(first, SeriesStableV1)
    assert (first.series_instance_uid, first.instances) == ("2.1", 1)
    assert (second.series_instance_uid, second.instances) == ("2.2", 2)
    assert isinstance(study, StudyStableV1)
    assert (study.series, study.instances) == (2, 3)
    assert closing.counted == {"series": 2, "study": 1}


def test_a_series_is_closed_while_its_study_still_grows(database, index, closing):
    index(arrival("1.1", series="2.1"))
    make_quiet(database, "series")
    closing.close_quiet()
    assert changes(database) == [("series.stable", "2.1")]


def test_an_object_indexed_long_after_its_reception_is_no_quiet(database, index, closing):
    # The objects are from January; what counts is that they were indexed just now.
    index(arrival("1.1", second=-86400))
    closing.close_quiet()
    assert changes(database) == []


def test_an_arrival_opens_again_and_only_its_own_series(database, index, closing):
    index(arrival("1.1", series="2.1"), arrival("1.2", series="2.2"))
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_quiet()
    index(arrival("1.3", series="2.2", second=7))
    opened = arrivals.rows(
        database, "SELECT series_instance_uid AS uid FROM series WHERE stable_at IS NULL"
    )
    assert [row["uid"] for row in opened] == ["2.2"]
    assert len(arrivals.rows(database, "SELECT 1 FROM studies WHERE stable_at IS NULL")) == 1
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_quiet()
    assert changes(database)[3:] == [("series.stable", "2.2"), ("study.stable", "")]


def test_the_same_object_again_does_not_open(database, index, closing):
    index(arrival("1.1"))
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_quiet()
    index(arrival("1.1", second=30))
    assert arrivals.rows(database, "SELECT 1 FROM series WHERE stable_at IS NULL") == []


def test_several_indexers_close_once(database, index):
    index(*(arrival(f"1.{n}", series=f"2.{n}") for n in range(20)))
    for table in ("series", "studies"):
        make_quiet(database, table)
    threads = [threading.Thread(target=Closing(database).close_quiet) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(changes(database)) == len(set(changes(database))) == 21
