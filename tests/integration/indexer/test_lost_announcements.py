"""A real broker loses what it has confirmed; the real index and volume tell that it has.

When something counts as lost is in tests/unit/indexer/services; the processes and a broker
without its disk in tests/faults.
"""

from contextlib import contextmanager

import pytest

from draw_api.adapters.stored_files import VolumeFiles
from draw_indexer.adapters.announced_objects import (
    PostgresAnnouncedObjectRepository,
    RabbitAnnouncementBroker,
)
from draw_indexer.adapters.next_versions import announce_by
from draw_indexer.services.lost_announcements import CHECKS_UNTIL_LOST, LostAnnouncementService
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.messaging import connection, topology
from draw_shared.messaging.consumer import Consumer
from draw_shared.messaging.publisher import Publisher
from draw_shared.storage import spool
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.outbox import SpoolOutbox
from draw_shared.storage.places import Places
from draw_shared.storage.space import Space
from support import arrivals, datasets
from support.indexed import IndexedStorage
from support.receptions import DEFAULT, receive, same_instance
from support.waiting import wait_until

pytestmark = pytest.mark.integration

WORK = topology.INSTANCE_STORED_WORK
UIDS = "SELECT sop_instance_uid AS uid FROM instances"
OBJECTS = 40


@pytest.fixture(scope="module")
def database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture(scope="module")
def publisher(worker_broker_url):
    publisher = Publisher(worker_broker_url, client="test")
    publisher.start()
    yield publisher
    publisher.stop(5)


@pytest.fixture(scope="module")
def channel(worker_broker_url):
    made = connection.connect(worker_broker_url, "test")
    channel = made.channel()
    topology.declare(channel)
    yield channel
    made.close()


class Archive:
    """A receiver that announces, an indexer, and what looks for lost announcements."""

    def __init__(self, root, database, url, publisher):
        self.indexed = IndexedStorage(root, database)
        self.records = AnnouncedRecords(root)
        self.announced_again = []
        self._database, self._url, self._publisher = database, url, publisher
        self._queues = RabbitAnnouncementBroker(
            url, client="test", announce=announce_by(publisher, Places(root))
        )
        self.lost = self.another()
        self._outbox = SpoolOutbox(self.indexed.store, publisher, lambda: DEFAULT)
        self._outbox.start()

    def another(self, recently=None):
        """Return what an indexer looks with that remembers nothing else."""
        return LostAnnouncementService(
            self.records,
            PostgresAnnouncedObjectRepository(self._database),
            self._queues,
            lambda: True,
            self.announced_again.append,
            1000,
            recently or RecentlyIndexed(),
        )

    def close(self):
        self._outbox.stop(5)
        self._queues.stop(5)
        self.indexed.close()

    def announce(self, *objects):
        """Receive objects; return them once the broker has confirmed all."""
        store = self.indexed.store
        stored = [receive(store, made)[0] for made in objects]
        for one in stored:
            self._outbox.announce(one)
        assert wait_until(lambda: not spool.entries(store.spool))
        return stored

    def check(self, times=1):
        for _ in range(times):
            self.lost.check()

    @contextmanager
    def consuming(self):
        """Have what waits in the queue indexed while the block runs."""

        def failed(outcome, message):
            if outcome == "dead":
                self._queues.put_aside(message)

        consumer = Consumer(
            self._url,
            WORK,
            self.indexed._handler.on_instances_stored,
            client="test",
            batch=200,
            failed=failed,
        )
        consumer.start()
        try:
            yield consumer
        finally:
            consumer.stop(5)

    @property
    def waiting(self):
        """How many records there are."""
        return len(self.records.names(1000))

    def uids(self):
        return {row["uid"] for row in arrivals.rows(self._database, UIDS)}


@pytest.fixture
def archive(tmp_path, database, worker_broker_url, publisher, channel):
    arrivals.empty(database)
    for queue in (WORK.name, WORK.dead):
        channel.queue_purge(queue)
    assert wait_until(lambda: publisher.connected)
    made = Archive(tmp_path, database, worker_broker_url, publisher)
    yield made
    made.close()


def depth(channel, queue=WORK.name):
    return channel.queue_declare(queue, passive=True).method.message_count


def test_what_the_broker_lost_is_announced_again_and_indexed(archive, channel):
    stored = archive.announce(*datasets.series(OBJECTS))
    channel.queue_purge(WORK.name)
    archive.check(CHECKS_UNTIL_LOST - 1)
    assert (archive.announced_again, archive.lost.objects) == ([], 0)
    archive.check()
    assert (sum(archive.announced_again), archive.lost.objects) == (OBJECTS, OBJECTS)
    with archive.consuming():
        assert wait_until(
            lambda: archive.uids() == {one.identity.sop_instance_uid for one in stored}
        )
    archive.check()
    assert (archive.waiting, archive.lost.objects) == (0, 0)
    assert sum(archive.announced_again) == OBJECTS


def test_what_is_indexed_is_forgotten_and_never_announced_again(archive, channel):
    first = datasets.build("CT")
    other = same_instance(first, StudyDescription="other bytes")
    archive.announce(first, first, other, *datasets.series(3))
    with archive.consuming():
        assert wait_until(lambda: len(archive.uids()) == 4 and depth(channel) == 0)
        assert wait_until(
            lambda: len(archive.indexed.scalars("SELECT path FROM instance_conflicts")) == 1
        )
    archive.check(2)
    assert (archive.waiting, archive.announced_again) == (0, [])


def test_what_replaced_another_explains_both(archive):
    archive.indexed.duplicates = DuplicatePolicy.REPLACE
    first = datasets.build("CT")
    archive.announce(first, same_instance(first, StudyDescription="other bytes"))
    with archive.consuming():
        assert wait_until(
            lambda: len(archive.indexed.scalars("SELECT path FROM instance_conflicts")) == 1
        )
    archive.check(2)
    assert archive.waiting == 0


def test_what_was_deleted_meanwhile_is_not_announced_again(archive):
    first, second = datasets.build("CT"), datasets.build("CT")
    archive.announce(first, second)
    with archive.consuming():
        assert wait_until(lambda: len(archive.uids()) == 2)
    archive.indexed.delete(str(first.StudyInstanceUID))
    archive.check(CHECKS_UNTIL_LOST)
    assert (archive.waiting, archive.announced_again) == (0, [])


def test_what_was_received_again_after_its_deletion_is_missed(archive, channel):
    one = datasets.build("CT")
    archive.indexed.receive(one)
    archive.indexed.delete(str(one.StudyInstanceUID))
    archive.announce(one)
    channel.queue_purge(WORK.name)
    archive.check(CHECKS_UNTIL_LOST)
    assert sum(archive.announced_again) == 1
    with archive.consuming():
        assert wait_until(lambda: archive.uids() == {str(one.SOPInstanceUID)})


def test_the_index_is_not_asked_for_what_one_has_indexed_oneself(archive, database):
    archive.announce(*datasets.series(3))
    with archive.consuming():
        assert wait_until(lambda: len(archive.uids()) == 3)
    arrivals.empty(database)
    own = archive.another(archive.indexed.recently)
    for _ in range(CHECKS_UNTIL_LOST):
        own.check()
    assert (archive.waiting, archive.announced_again) == (0, [])


def test_what_is_received_again_is_missed_by_whoever_indexed_it_before(archive, channel):
    one = datasets.build("CT")
    archive.announce(one)
    with archive.consuming():
        assert wait_until(lambda: archive.uids() == {str(one.SOPInstanceUID)})
    archive.indexed.delete(str(one.StudyInstanceUID))
    archive.announce(one)
    channel.queue_purge(WORK.name)
    own = archive.another(archive.indexed.recently)
    for _ in range(CHECKS_UNTIL_LOST):
        own.check()
    assert archive.announced_again == [1]


def test_a_dead_letter_is_not_announced_again(archive, channel):
    dead, gone = datasets.series(2)
    stored = archive.announce(dead)
    (archive.indexed.root / stored[0].path).write_bytes(b"no longer DICOM")
    with archive.consuming():
        assert wait_until(lambda: depth(channel, WORK.dead) == 1)
    archive.announce(gone)
    channel.queue_purge(WORK.name)
    archive.check(CHECKS_UNTIL_LOST)
    assert (archive.waiting, archive.announced_again) == (1, [1])
    assert depth(channel, WORK.dead) == 1


def test_a_dead_letter_that_was_discarded_at_once_does_not_return(archive, channel):
    [stored] = archive.announce(datasets.build("CT"))
    (archive.indexed.root / stored.path).write_bytes(b"no longer DICOM")
    with archive.consuming():
        assert wait_until(lambda: depth(channel, WORK.dead) == 1)
        channel.queue_purge(WORK.dead)
        archive.check(CHECKS_UNTIL_LOST + 2)
        assert (archive.announced_again, archive.waiting) == ([], 0)
    assert depth(channel, WORK.dead) == 0


def test_one_indexer_looks_at_a_time(archive, database, channel):
    archive.announce(datasets.build("CT"))
    channel.queue_purge(WORK.name)
    with PostgresAnnouncedObjectRepository(database).looking() as rows:
        assert rows is not None
        archive.check(2 * CHECKS_UNTIL_LOST)
        assert archive.announced_again == []
    other = archive.another()
    for _ in range(CHECKS_UNTIL_LOST):
        other.check()
        archive.check()
    assert archive.announced_again == [1]


def test_records_are_no_objects_of_the_storage(archive):
    stored = archive.announce(*datasets.series(3))
    assert archive.waiting
    found = VolumeFiles(archive.indexed.root).found()
    assert {file.path for file in found} == {one.path for one in stored}
    space = Space(archive.indexed.root)
    space.measure()
    assert space.used_bytes == sum(one.size_bytes for one in stored)


def test_a_queue_that_somebody_deletes_is_made_again_and_consumed(archive, channel):
    one = datasets.build("CT")
    with archive.consuming() as consumer:
        assert wait_until(lambda: consumer.connected)
        channel.queue_delete(WORK.name)
        assert wait_until(lambda: consumer.connected and consumer._session == 2)
        archive.announce(one)
        assert wait_until(lambda: archive.uids() == {str(one.SOPInstanceUID)})
