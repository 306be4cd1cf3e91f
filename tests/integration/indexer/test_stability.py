"""Series and studies are closed when they are complete, once, and opened again."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from draw_indexer.adapters.index_queries import PostgresIndexRepository
from draw_indexer.adapters.stability_queries import (
    MAX_CLOSED_AT_ONCE,
    PostgresStabilityRepository,
)
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain
from draw_indexer.adapters.volume_watch import StorageVolumeWatch
from draw_indexer.services.indexing import IndexingService
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_indexer.services.stability import CompletionTimes, StabilityService
from draw_shared.contracts.instance import InstanceStoredV1, SeriesStableV1, StudyStableV1
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.contracts.transaction import (
    TransactionKind,
    TransactionOutcome,
    TransactionRecord,
)
from draw_shared.db.session import Database
from draw_shared.storage import layout
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.removal import StorageFiles
from support import arrivals, datasets
from support.arrivals import arrival
from support.waiting import wait_until

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
    def __init__(self, database, root, settle=0.0, quiet=QUIET_SECONDS):
        self.announced = []
        self.counted = {}
        self.close_complete = StabilityService(
            PostgresStabilityRepository(database),
            StorageVolumeWatch(root, database, RecentlyIndexed().has_all),
            lambda: CompletionTimes(quiet, settle),
            self.announced.append,
            self._count,
        ).close_complete

    def _count(self, level, number):
        self.counted[level] = self.counted.get(level, 0) + number


@pytest.fixture
def closing(database, tmp_path):
    return Closing(database, tmp_path)


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
    closing.close_complete()
    assert closing.announced == []
    make_quiet(database, "series")
    make_quiet(database, "studies")
    closing.close_complete()
    closing.close_complete()
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
    closing.close_complete()
    assert changes(database) == [("series.stable", "2.1")]


def test_an_object_indexed_long_after_its_reception_is_no_quiet(database, index, closing):
    # The objects are from January; what counts is that they were indexed just now.
    index(arrival("1.1", second=-86400))
    closing.close_complete()
    assert changes(database) == []


def test_an_arrival_opens_again_and_only_its_own_series(database, index, closing):
    index(arrival("1.1", series="2.1"), arrival("1.2", series="2.2"))
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_complete()
    index(arrival("1.3", series="2.2", second=7))
    opened = arrivals.rows(
        database, "SELECT series_instance_uid AS uid FROM series WHERE stable_at IS NULL"
    )
    assert [row["uid"] for row in opened] == ["2.2"]
    assert len(arrivals.rows(database, "SELECT 1 FROM studies WHERE stable_at IS NULL")) == 1
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_complete()
    assert changes(database)[3:] == [("series.stable", "2.2"), ("study.stable", "")]


def test_the_same_object_again_does_not_open(database, index, closing):
    index(arrival("1.1"))
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_complete()
    index(arrival("1.1", second=30))
    assert arrivals.rows(database, "SELECT 1 FROM series WHERE stable_at IS NULL") == []


def test_several_indexers_close_once(database, index, tmp_path):
    index(*(arrival(f"1.{n}", series=f"2.{n}") for n in range(20)))
    for table in ("series", "studies"):
        make_quiet(database, table)
    threads = [
        threading.Thread(target=Closing(database, tmp_path).close_complete) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(changes(database)) == len(set(changes(database))) == 21


def brought(by, ordinal, uid, *, series="2.1", sender="SENDER", **texts):
    """Return an object that an association stored in this place."""
    found = arrival(uid, series=series, **texts)
    stored = replace(
        found.stored, association_id=by, association_ordinal=ordinal, calling_ae=sender
    )
    return replace(found, stored=stored)


def ended(database, association, objects, *, how=TransactionOutcome.SUCCESS, at=None):
    """Write the line with which an association ends."""
    line = TransactionRecord(
        record_id=uuid4(),
        occurred_at=at or datetime.now(UTC),
        kind=TransactionKind.ASSOCIATION,
        outcome=how,
        replica="scp-1",
        association_id=association,
        calling_ae="SENDER",
        objects=objects,
    )
    chain = PostgresTransactionChain(database)
    chain.make_partitions()
    chain.write([line])


def completed(database):
    return [
        tuple(row.values())
        for row in arrivals.rows(
            database,
            "SELECT series_instance_uid, reason, new_instance_count FROM changes"
            " WHERE kind = 'series.stable' ORDER BY sequence",
        )
    ]


def test_a_series_is_complete_when_its_association_has_ended(database, index, closing):
    index(brought("a", 1, "1.1"), brought("a", 2, "1.2"))
    closing.close_complete()
    assert completed(database) == []
    ended(database, "a", 2)
    closing.close_complete()
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 2)]
    assert changes(database) == [("series.stable", "2.1")], "its study may go on"
    (told,) = closing.announced
    assert (told.reason, told.instances, told.new_instances) == ("association_ended", 2, 2)
    for table in ("association_arrivals", "association_ends", "series_arrivals"):
        assert arrivals.rows(database, f"SELECT 1 FROM {table}") == [], table  # noqa: S608


def test_its_end_may_be_known_before_its_objects(database, index, closing):
    ended(database, "a", 3)
    index(brought("a", 1, "1.1"), brought("a", 3, "1.3"))
    closing.close_complete()
    assert completed(database) == [], "the second one is not indexed yet"
    index(brought("a", 3, "1.3"), brought("a", 2, "1.2"))
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 3)]


def test_of_two_associations_the_later_end_counts(database, index, closing):
    index(brought("a", 1, "1.1"), brought("b", 1, "1.2"), brought("b", 2, "1.3", series="2.2"))
    ended(database, "a", 1)
    closing.close_complete()
    assert completed(database) == []
    ended(database, "b", 2)
    closing.close_complete()
    assert completed(database) == [
        ("2.1", "association_ended", 2),
        ("2.2", "association_ended", 1),
    ]


@pytest.mark.parametrize("how", [TransactionOutcome.WARNING, TransactionOutcome.FAILURE])
def test_an_aborted_association_completes_nothing_early(database, index, closing, how):
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1, how=how)
    closing.close_complete()
    assert completed(database) == []
    make_quiet(database, "series")
    closing.close_complete()
    assert completed(database) == [("2.1", "quiet", 1)]


def test_what_no_association_counts_waits_for_its_quiet_period(database, index, closing):
    index(brought("a", None, "1.1"), brought("b", 1, "1.2"))
    ended(database, "a", 1)
    ended(database, "b", 1)
    closing.close_complete()
    assert completed(database) == []


def test_a_complete_series_that_grows_is_complete_again(database, index, closing):
    index(brought("a", 1, "1.1"), brought("a", 2, "1.2"))
    ended(database, "a", 2)
    closing.close_complete()
    index(brought("b", 1, "1.1"), brought("b", 2, "1.3"))
    closing.close_complete()
    assert len(completed(database)) == 1, "the second association is still open"
    ended(database, "b", 2)
    closing.close_complete()
    assert completed(database)[1:] == [("2.1", "association_ended", 1)]


def test_the_settle_time_is_that_of_the_sender(database, index, tmp_path):
    closing = Closing(database, tmp_path, settle=3600)
    with database.session() as session:
        session.connection().execute(
            text(
                "INSERT INTO allowed_ae_titles (ae_title, settle_time_seconds) VALUES ('FAST', 0)"
                " ON CONFLICT (ae_title) DO NOTHING"
            )
        )
        session.commit()
    index(brought("a", 1, "1.1"), brought("b", 1, "1.2", series="2.2", sender="FAST"))
    ended(database, "a", 1)
    ended(database, "b", 1)
    closing.close_complete()
    assert completed(database) == [("2.2", "association_ended", 1)]


@pytest.mark.parametrize("wrong", [timedelta(days=1), timedelta(days=-1)])
def test_the_clock_of_a_receiver_does_not_make_a_series_complete(database, index, tmp_path, wrong):
    closing = Closing(database, tmp_path, settle=60)
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1, at=datetime.now(UTC).replace(day=1) + wrong)
    closing.close_complete()
    assert completed(database) == []
    (end,) = arrivals.rows(
        database, "SELECT abs(extract(epoch FROM now() - ended_at)) AS off FROM series_arrivals"
    )
    assert end["off"] < 15


def test_an_announced_object_that_the_index_lacks_holds_its_series(
    database, index, closing, tmp_path
):
    late = brought("b", 1, "1.9")
    spool = tmp_path / layout.SPOOL / "scp-1"
    spool.mkdir(parents=True)
    (tmp_path / layout.ANNOUNCED).mkdir()
    AnnouncedRecords(tmp_path).keep([event_of(late.stored)], spool)
    index(brought("a", 1, "1.1"), brought("a", 2, "1.2", series="2.2"))
    ended(database, "a", 2)
    closing.close_complete()
    assert completed(database) == [("2.2", "association_ended", 1)]
    index(late)
    closing.close_complete()
    assert len(completed(database)) == 1, "now the association is known, and open"
    ended(database, "b", 1)
    closing.close_complete()
    assert completed(database)[1:] == [("2.1", "association_ended", 2)]


def test_an_announced_object_of_another_association_holds_a_series_that_has_it_already(
    database, index, closing, tmp_path
):
    # The second association begins with what the first one has brought.
    index(brought("a", 1, "1.1"))
    again = brought("b", 1, "1.1", second=3)
    spool = tmp_path / layout.SPOOL / "scp-1"
    spool.mkdir(parents=True)
    (tmp_path / layout.ANNOUNCED).mkdir()
    AnnouncedRecords(tmp_path).keep([event_of(again.stored)], spool)
    ended(database, "a", 1)
    closing.close_complete()
    assert completed(database) == []
    index(again)
    index(brought("b", 2, "1.2"))
    closing.close_complete()
    assert completed(database) == [], "now the association is known, and open"
    ended(database, "b", 2)
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 2)]


def test_a_record_that_is_postponed_meanwhile_is_not_overlooked(database, index, tmp_path):
    late = brought("b", 1, "1.9")
    spool = tmp_path / layout.SPOOL / "scp-1"
    spool.mkdir(parents=True)
    (tmp_path / layout.ANNOUNCED).mkdir()
    records = AnnouncedRecords(tmp_path)
    records.keep([event_of(late.stored)], spool)
    over = threading.Event()

    def postpone():
        (name,) = records.names(1)
        while not over.is_set():
            name = records.postpone(records.read(name))

    thread = threading.Thread(target=postpone)
    thread.start()
    try:
        found = [
            StorageVolumeWatch(tmp_path, database, lambda _: False).find_unindexed({"2.1"})
            for _ in range(40)
        ]
    finally:
        over.set()
        thread.join()
    assert all(one is None or one == {"2.1"} for one in found)


def event_of(stored):
    return InstanceStoredV1(
        event_id=uuid4(),
        occurred_at=stored.received_at,
        association_id=stored.association_id,
        association_ordinal=stored.association_ordinal,
        replica="scp-1",
        sop_class_uid=stored.sop_class_uid,
        sop_instance_uid=stored.sop_instance_uid,
        study_instance_uid=stored.study_instance_uid,
        series_instance_uid=stored.series_instance_uid,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        path=stored.path,
        size_bytes=stored.size_bytes,
        content_sha256=stored.content_sha256,
        calling_ae=stored.calling_ae,
        called_ae="DRAW",
        peer_address="127.0.0.1",
    )


def test_an_unannounced_object_holds_every_series_that_ended_since(
    database, index, closing, tmp_path
):
    entry = tmp_path / layout.SPOOL / "scp-1" / "0001.dcm"
    entry.parent.mkdir(parents=True)
    entry.touch()
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1)
    closing.close_complete()
    closing.close_complete()
    assert completed(database) == []
    later = entry.with_name("0002.dcm")
    later.touch()
    entry.unlink()
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 1)], "what came since is no reason"


def test_an_object_that_comes_while_a_series_settles_and_is_not_announced_holds_it(
    database, index, tmp_path
):
    closing = Closing(database, tmp_path, settle=600)
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1)
    closing.close_complete()
    entry = tmp_path / layout.SPOOL / "scp-1" / "0001.dcm"
    entry.parent.mkdir(parents=True)
    entry.touch()
    end_before(database, 601)
    closing.close_complete()
    assert completed(database) == []
    entry.unlink()
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 1)]


def test_a_quiet_series_waits_for_the_settle_time_of_its_sender(database, index, tmp_path):
    closing = Closing(database, tmp_path, settle=QUIET_SECONDS * 10)
    index(brought("a", 1, "1.1"), brought("b", 1, "1.2", series="2.2"))
    ended(database, "a", 1)
    for table in ("series", "studies"):
        make_quiet(database, table)
    closing.close_complete()
    assert changes(database) == [("series.stable", "2.2")], "its association is open"
    end_before(database, QUIET_SECONDS * 10 + 1)
    closing.close_complete()
    assert completed(database)[1:] == [("2.1", "association_ended", 1)]
    assert changes(database)[2:] == [("study.stable", "")]


@pytest.fixture
def records(tmp_path):
    """Keep records of announcements on the storage volume."""
    spool = tmp_path / layout.SPOOL / "scp-1"
    spool.mkdir(parents=True)
    (tmp_path / layout.ANNOUNCED).mkdir()
    return lambda *brought: AnnouncedRecords(tmp_path).keep(
        [event_of(one.stored) for one in brought], spool
    )


def make_all_quiet(database):
    for table in ("series", "studies"):
        make_quiet(database, table)


def test_what_is_quiet_in_the_index_only_is_not_complete(database, index, closing, records):
    # The indexer was away while these were announced, or is far behind.
    late, other = brought("a", 2, "1.9"), brought("c", 1, "3.1", series="2.3", study="1.1.1.9")
    records(late, other)
    index(brought("a", 1, "1.1"), brought("b", 1, "4.1", series="2.4", study="1.1.1.8"))
    index(brought("d", 1, "3.2", series="2.5", study="1.1.1.9"))
    make_all_quiet(database)
    closing.close_complete()
    closing.close_complete()
    # A study waits for all of its series, also for one that the index does not know yet.
    assert changes(database) == [
        ("series.stable", "2.4"),
        ("series.stable", "2.5"),
        ("study.stable", ""),
    ]
    index(late, other)
    make_all_quiet(database)
    closing.close_complete()
    assert sorted(changes(database)[3:]) == [
        ("series.stable", "2.1"),
        ("series.stable", "2.3"),
        ("study.stable", ""),
        ("study.stable", ""),
    ]


def test_what_is_quiet_while_objects_of_it_are_not_announced_is_not_complete(
    database, index, tmp_path
):
    # The broker is away. One object is of the study; of the other nobody can say whose it is.
    folder = tmp_path / layout.SPOOL / "scp-1"
    folder.mkdir(parents=True)
    made = datasets.build("CT", StudyInstanceUID="1.1.1.1", SeriesInstanceUID="2.1")
    made.save_as(folder / "0001.dcm", enforce_file_format=True)
    (folder / "0002.dcm").touch()
    index(brought("a", 1, "1.1"), brought("b", 1, "4.1", series="2.4", study="1.1.1.8"))
    make_all_quiet(database)
    closing = Closing(database, tmp_path)
    closing.close_complete()
    closing.close_complete()
    assert changes(database) == [("series.stable", "2.4"), ("study.stable", "")]
    (folder / "0001.dcm").unlink()
    (folder / "0002.dcm").unlink()
    closing.close_complete()
    assert changes(database)[2:] == [("series.stable", "2.1"), ("study.stable", "")]


@contextmanager
def clock_of_database(database):
    """Yield the database as clients see it, and what puts its clock forward for these."""
    url = database.engine.url.render_as_string(hide_password=False)
    stepped = Database(url.replace("postgresql+psycopg://", "postgresql://"))

    @event.listens_for(stepped.engine, "connect")
    def _look_there_first(connection, _):
        connection.execute("SET search_path = stepped, pg_catalog, public")
        connection.commit()

    def step(seconds):
        with database.session() as session:
            session.connection().execute(
                text(
                    "CREATE OR REPLACE FUNCTION stepped.now() RETURNS timestamptz LANGUAGE sql"
                    f" AS $$ SELECT pg_catalog.now() + interval '{seconds} seconds' $$"
                )
            )
            session.commit()

    with database.session() as session:
        session.connection().execute(text("CREATE SCHEMA stepped"))
        session.commit()
    try:
        step(0)
        yield stepped, step
    finally:
        stepped.engine.dispose()
        with database.session() as session:
            session.connection().execute(text("DROP SCHEMA stepped CASCADE"))
            session.commit()


def test_a_clock_that_is_put_forward_makes_nothing_quiet(database, index, tmp_path):
    with clock_of_database(database) as (stepped, step):
        closing = Closing(stepped, tmp_path, quiet=5)
        index(brought("a", 1, "1.1"))
        closing.close_complete()
        step(3600)
        closing.close_complete()
        closing.close_complete()
        assert changes(database) == []

        def closed():
            closing.close_complete()
            return changes(database)

        assert wait_until(closed, 60)


def end_before(database, seconds, association="a"):
    """Let an association have ended so long ago."""
    with database.session() as session:
        session.connection().execute(
            text(
                "UPDATE series_arrivals SET ended_at = now() - make_interval(secs => :seconds)"
                " WHERE association_id = :association"
            ),
            {"seconds": seconds, "association": association},
        )
        session.commit()


def test_series_that_settle_for_long_do_not_hold_up_others(database, index, tmp_path):
    closing = Closing(database, tmp_path, settle=600)
    many = range(1, MAX_CLOSED_AT_ONCE + 1)
    index(*(brought("a", n, f"1.{n}", series=f"2.{n}") for n in many))
    ended(database, "a", len(many))
    index(brought("b", 1, "3.1", series="3.2", second=9))
    ended(database, "b", 1)
    closing.close_complete()
    end_before(database, 601, "b")
    closing.close_complete()
    assert completed(database) == [("3.2", "association_ended", 1)]


def proved(database, *uids):
    with database.session() as session:
        for uid in uids:
            session.connection().execute(
                text("INSERT INTO proved_arrivals (uid, job_id) VALUES (:uid, gen_random_uuid())"),
                {"uid": uid},
            )
        session.commit()


def test_a_proof_completes_a_series_and_then_its_study(database, index, closing):
    index(brought("a", None, "1.1"), brought("c", 1, "1.2", series="2.2"))
    proved(database, "2.1", "1.1.1.1")
    closing.close_complete()
    assert completed(database) == [("2.1", "proved", 1)]
    assert len(changes(database)) == 1, "the other series of the study is open"
    ended(database, "c", 1)
    closing.close_complete()
    found = arrivals.rows(
        database, "SELECT reason, new_instance_count FROM changes WHERE kind = 'study.stable'"
    )
    assert [tuple(row.values()) for row in found] == [("proved", 2)]
    assert arrivals.rows(database, "SELECT 1 FROM proved_arrivals") == []


def test_a_proof_does_not_count_for_what_has_come_since(database, index, closing):
    index(brought("a", None, "1.1"))
    proved(database, "2.1")
    index(brought("a", None, "1.2", second=9))
    closing.close_complete()
    assert completed(database) == []


def test_a_proof_waits_for_other_associations(database, index, closing):
    index(brought("a", None, "1.1"), brought("b", 1, "1.2"))
    proved(database, "2.1")
    closing.close_complete()
    assert completed(database) == []
    ended(database, "b", 1, how=TransactionOutcome.FAILURE)
    closing.close_complete()
    assert completed(database) == [("2.1", "proved", 2)]


def retrieving(database, *uids, series="2.1", state="running"):
    """Let a retrieve job of this state have named objects that it has not brought yet."""
    with database.session() as session:
        job = session.connection().execute(
            text(
                "INSERT INTO jobs (id, kind, state, created_by)"
                " VALUES (gen_random_uuid(), 'retrieve', :state, 'admin') RETURNING id"
            ),
            {"state": state},
        )
        session.connection().execute(
            text(
                "INSERT INTO retrieve_items (job_id, study_instance_uid, series_instance_uid,"
                " sop_instance_uid) SELECT :job, '1.1.1.1', :series, k.uid"
                " FROM unnest(CAST(:uids AS text[])) AS k (uid)"
            ),
            {"job": job.scalar_one(), "series": series, "uids": list(uids)},
        )
        session.commit()


def put_jobs(database, change):
    with database.session() as session:
        session.connection().execute(text(f"UPDATE jobs SET {change}"))  # noqa: S608
        session.commit()


@pytest.mark.parametrize("how", ["association", "proof"])
def test_what_a_retrieve_job_still_brings_is_not_complete(database, index, closing, how):
    # A node sends over one association after another; a second job has the rest from elsewhere.
    retrieving(database, "1.1", "1.2")
    index(brought("a", 1 if how == "association" else None, "1.1"))
    index(brought("b", 1, "1.9", series="2.2", second=9))
    ended(database, "b", 1)
    if how == "association":
        ended(database, "a", 1)
    else:
        proved(database, "2.1", "1.1.1.1")
    closing.close_complete()
    assert [one[0] for one in completed(database)] == ["2.2"]
    put_jobs(database, "state = 'waiting'")
    closing.close_complete()
    assert len(completed(database)) == 1, "it tries again"
    index(brought("c", 1, "1.2", second=5))
    ended(database, "c", 1)
    closing.close_complete()
    # What has come since the proof is none of it.
    assert completed(database)[1:] == (
        [("2.1", "association_ended", 2)] if how == "association" else []
    )


def test_quiet_is_not_what_a_retrieve_job_is_bringing(database, index, closing):
    retrieving(database, "1.1", "1.2")
    index(brought("a", 1, "1.1"))
    index(brought("b", 1, "4.1", series="2.4", study="1.1.1.8"))
    make_all_quiet(database)
    closing.close_complete()
    assert changes(database) == [("series.stable", "2.4"), ("study.stable", "")]
    put_jobs(database, "state = 'waiting'")
    closing.close_complete()
    assert changes(database)[2:] == [("series.stable", "2.1"), ("study.stable", "")]


def test_a_deleted_object_counts_as_arrived(database, closing, tmp_path):
    rows = PostgresIndexRepository(database, StorageFiles(tmp_path))
    indexing = IndexingService(rows, lambda: DuplicatePolicy.KEEP_EXISTING)
    with database.session() as session:
        session.connection().execute(
            text("INSERT INTO tombstones (uid, before_ns) VALUES ('1.1.1.9', :later)"),
            {"later": 2**62},
        )
        session.commit()
    late = brought("a", 2, "1.2", study="1.1.1.9", series="2.9")
    file = tmp_path / late.stored.path
    file.parent.mkdir()
    file.touch()
    batch = indexing.index([brought("a", 1, "1.1"), late])
    assert [stored.sop_instance_uid for stored in batch.deleted] == ["1.2"]
    ended(database, "a", 2)
    closing.close_complete()
    assert completed(database) == [("2.1", "association_ended", 1)]


def test_an_open_association_that_brought_what_was_complete_holds_the_series_when_it_grows(
    database, index, closing
):
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1)
    closing.close_complete()
    index(brought("b", 1, "1.1", second=3))
    index(brought("c", 1, "1.2"))
    ended(database, "c", 1)
    closing.close_complete()
    assert len(completed(database)) == 1, "one association is open"
    index(brought("b", 2, "1.3"))
    ended(database, "b", 2)
    closing.close_complete()
    assert completed(database)[1:] == [("2.1", "association_ended", 2)]
    for table in ("association_arrivals", "association_ends", "series_arrivals"):
        assert arrivals.rows(database, f"SELECT 1 FROM {table}") == [], table  # noqa: S608


def test_what_is_known_of_a_complete_series_goes_with_its_associations(database, index, closing):
    index(brought("a", 1, "1.1"))
    ended(database, "a", 1)
    closing.close_complete()
    index(brought("a", 1, "1.1"), brought("b", 1, "1.1", second=3))
    ended(database, "b", 1, how=TransactionOutcome.FAILURE)
    closing.close_complete()
    left = "SELECT association_id FROM series_arrivals"
    assert [row["association_id"] for row in arrivals.rows(database, left)] == ["a"], "came again"
    stability = PostgresStabilityRepository(database)
    stability.forget_old()
    assert len(arrivals.rows(database, left)) == 1
    with database.session() as session:
        session.connection().execute(
            text("UPDATE association_arrivals SET updated_at = now() - interval '4 hours'")
        )
        session.commit()
    stability.forget_old()
    assert arrivals.rows(database, left) == []
    assert len(completed(database)) == 1
