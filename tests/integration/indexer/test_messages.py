"""Announcements from a real broker into a real index: what is acknowledged, retried, dead.

Not covered here: the services as processes, see the e2e and fault tests.
"""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from draw_indexer.adapters.reader import ConfinedHeaderReader
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain
from draw_indexer.handlers.instance_stored import InstanceStored
from draw_indexer.handlers.transactions_recorded import TransactionsRecorded
from draw_indexer.metrics import IndexerMetrics
from draw_indexer.services.indexing import IndexingService
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.db.session import DatabaseUnavailable
from draw_shared.messaging import connection, topology
from draw_shared.messaging.consumer import REASON_HEADER, Consumer
from draw_shared.messaging.topology import WorkQueue
from draw_shared.runtime import logging
from draw_shared.storage.outbox import event_of
from draw_shared.storage.places import Places
from support import arrivals, datasets
from support.receptions import opened, receive, same_instance
from support.waiting import wait_until

pytestmark = pytest.mark.integration

WORK = WorkQueue("test.instance-stored", ("instance.stored.*",), "test.dead", (0.3, 0.3))
LINES = WorkQueue("test.transactions", ("transactions.recorded.*",), "test.dead", (0.3,))


@dataclass
class Broker:
    channel: object

    def publish(self, body, key="instance.stored.v1"):
        self.channel.basic_publish(topology.EVENTS, key, body)

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def dead(self):
        """Take the dead letters, as (body, reason)."""
        found = []
        while True:
            method, properties, body = self.channel.basic_get(WORK.dead, auto_ack=True)
            if method is None:
                return found
            found.append((body, properties.headers[REASON_HEADER]))


@pytest.fixture
def broker(broker_url):
    made = connection.connect(broker_url, "test")
    channel = made.channel()
    channel.confirm_delivery()
    topology.declare(channel)
    for work in (WORK, LINES):
        work.declare(channel)
    # The suite's own queues would keep a copy of everything.
    channel.queue_delete(topology.INSTANCE_STORED)
    yield Broker(channel)
    made.close()


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path)
    yield store
    store.stop(5)


@pytest.fixture
def reader(tmp_path):
    reader = ConfinedHeaderReader(tmp_path, seconds=20, cpu_seconds=5, memory_mb=768)
    reader.start()
    yield reader
    reader.stop(2)


@pytest.fixture
def consume(broker_url):
    running = []

    def start(handler, work=WORK, **options):
        outcomes = []

        def failed(outcome, _):
            outcomes.append(outcome)

        consumer = Consumer(broker_url, work, handler, client="test", failed=failed, **options)
        consumer.start()
        running.append(consumer)
        return outcomes

    yield start
    for consumer in running:
        consumer.stop(5)


@pytest.fixture
def handler(database, reader, tmp_path):
    indexing = IndexingService(arrivals.index_in(database), lambda: DuplicatePolicy.KEEP_EXISTING)
    unseal = Places(tmp_path).unseal
    return InstanceStored(reader, unseal, indexing, IndexerMetrics(CollectorRegistry()))


def instances(database):
    return {row["uid"] for row in arrivals.rows(database, INSTANCES)}


INSTANCES = "SELECT sop_instance_uid AS uid FROM instances"


@pytest.mark.parametrize("together", [1, 7, 100])
def test_good_messages_are_indexed_and_bad_ones_are_dead_alone(
    database, broker, store, handler, consume, tmp_path, together
):
    objects = datasets.series(30, PatientName="Secret^Name", PatientID="SECRET-ID")
    stored = [receive(store, made)[0] for made in objects]
    events = [event_of(each) for each in stored]
    damaged, swapped = events[3], events[4]
    (tmp_path / damaged.path).write_bytes(b"no longer DICOM")
    (tmp_path / swapped.path).write_bytes((tmp_path / events[5].path).read_bytes())
    outside = events[6].model_copy(update={"path": "../../etc/passwd"})
    bodies = [event.to_bytes() for event in (*events[:6], outside, *events[7:])]
    outcomes = consume(handler.on_instances_stored, batch=200)
    lines = [*bodies[:10], b"nonsense", b'{"schema_version": 1}', *bodies[10:], *bodies[:2]]
    for first in range(0, len(lines), together):
        broker.publish(b"\n".join(lines[first : first + together]))
    good = {event.sop_instance_uid for event in events} - {
        damaged.sop_instance_uid,
        swapped.sop_instance_uid,
        outside.sop_instance_uid,
    }
    assert wait_until(lambda: instances(database) >= good, 60)
    assert wait_until(lambda: len(outcomes) == 5, 60)
    assert instances(database) == good
    assert outcomes == ["dead"] * 5
    assert wait_until(lambda: broker.depth(WORK.dead) == 5)
    dead = dict(broker.dead())
    assert {body: reason.partition(":")[0] for body, reason in dead.items()} == {
        b"nonsense": "MalformedMessage",
        b'{"schema_version": 1}': "MalformedMessage",
        damaged.to_bytes(): "Unreadable",
        swapped.to_bytes(): "OtherObject",
        outside.to_bytes(): "MalformedMessage",
    }
    assert "secret" not in " ".join(dead.values()).lower()
    assert broker.depth(WORK.name) == 0


def test_what_became_of_each_object_is_in_the_log_by_its_identifiers(
    broker, store, handler, consume, tmp_path, monkeypatch
):
    made = datasets.series(5, PatientName="Secret^Name", PatientID="SECRET-ID")
    made.append(same_instance(made[0], PatientName="Other^Secret"))
    events = [event_of(receive(store, one)[0]) for one in made]
    damaged, outside = events[3], events[4].model_copy(update={"path": "../secret"})
    (tmp_path / damaged.path).write_bytes(b"no longer DICOM")
    monkeypatch.setattr(logging, "_threshold", logging.LEVELS["DEBUG"])
    with capture_logs() as lines:
        outcomes = consume(handler.on_instances_stored, batch=200)
        for event in (*events[:4], outside, events[5]):
            broker.publish(event.to_bytes())
        assert wait_until(lambda: broker.depth(WORK.dead) == 2, 60)
        assert wait_until(lambda: len(outcomes) == 2, 60)

    def named(kind, field="event_id"):
        return [line[field] for line in lines if line["event"] == kind]

    indexed = {uid for uids in named("instances.indexed", "event_ids") for uid in uids}
    assert indexed == {str(event.event_id) for event in (*events[:3], events[5])}
    associations = {event.association_id for event in events}
    assert set(named("instances.indexed", "association_id")) <= associations
    assert named("instance.not_read") == [str(damaged.event_id)]
    assert named("instance.not_read", "association_id") == [damaged.association_id]
    assert named("instance.conflict") == [str(events[5].event_id)]
    dead = {str(damaged.event_id), str(outside.event_id)}
    assert set(named("message.put_aside")) == dead
    assert set(named("message.put_aside", "sop_instance_uid")) == {
        damaged.sop_instance_uid,
        outside.sop_instance_uid,
    }
    assert "secret" not in str(lines).lower()


def test_a_missing_file_is_looked_for_again_and_then_dead(
    database, broker, store, handler, consume, tmp_path
):
    late, lost = (event_of(receive(store, datasets.build())[0]) for _ in range(2))
    content = (tmp_path / late.path).read_bytes()
    for event in (late, lost):
        (tmp_path / event.path).unlink()
    outcomes = consume(handler.on_instances_stored, batch=200)
    for event in (late, lost):
        broker.publish(event.to_bytes())
    assert wait_until(lambda: len(outcomes) >= 2, 60)
    (tmp_path / late.path).write_bytes(content)
    assert wait_until(lambda: instances(database) == {late.sop_instance_uid}, 60)
    assert wait_until(lambda: broker.depth(WORK.dead) == 1, 60)
    assert [(body, reason.partition(":")[0]) for body, reason in broker.dead()] == [
        (lost.to_bytes(), "FileMissing")
    ]
    assert outcomes.count("dead") == 1


def test_without_the_database_the_batch_waits(database, broker, store, handler, consume):
    events = [event_of(receive(store, made)[0]) for made in datasets.series(5)]
    away = [True, True]

    def unlucky(batch):
        if away:
            away.pop()
            raise DatabaseUnavailable("away")
        return handler.on_instances_stored(batch)

    outcomes = consume(unlucky, batch=200)
    for event in events:
        broker.publish(event.to_bytes())
    assert wait_until(lambda: len(instances(database)) == 5, 60)
    assert outcomes == []
    assert broker.depth(WORK.dead) == 0


def test_a_message_is_acknowledged_after_the_commit_only(database, broker, store, handler, consume):
    event = event_of(receive(store, datasets.build())[0])
    unacknowledged = []

    def watching(batch):
        handler.on_instances_stored(batch)
        assert instances(database) == {event.sop_instance_uid}
        unacknowledged.append(len(batch))
        raise DatabaseUnavailable("the answer to the commit was lost")

    consume(watching)
    broker.publish(event.to_bytes())
    assert wait_until(lambda: len(unacknowledged) >= 2, 60)
    assert len(arrivals.rows(database, "SELECT 1 FROM changes")) == 1


def test_lines_of_the_transaction_log_are_rows_once(database, broker, consume):
    body = (
        b'{"event_id": "7ad9bf2e-67a5-4b3b-8e0e-2b6c5f1f5d11", "occurred_at":'
        b' "2026-11-01T10:00:00Z", "replica": "scp-1", "records": [{"record_id":'
        b' "7ad9bf2e-67a5-4b3b-8e0e-2b6c5f1f5d12", "occurred_at": "2026-11-01T10:00:00.123456Z",'
        b' "kind": "c-store", "outcome": "success", "replica": "scp-1", "status": 0,'
        b' "detail": "a\\u0000b", "duration_seconds": 0.25}, {"record_id":'
        b' "7ad9bf2e-67a5-4b3b-8e0e-2b6c5f1f5d13", "occurred_at": "1999-01-01T00:00:00Z",'
        b' "kind": "c-echo", "outcome": "failure", "replica": "scp-1"}]}'
    )
    transactions = PostgresTransactionChain(database)
    written = []
    handler = TransactionsRecorded(transactions.write, written.append)
    outcomes = consume(handler.on_transactions_recorded, LINES, batch=10)
    for each in (body, b'{"records": "many"}', body, body):
        broker.publish(each, "transactions.recorded.v1")
    assert wait_until(lambda: sum(written) == 2 and outcomes == ["dead"], 60)
    assert wait_until(lambda: broker.depth(LINES.name) == 0)
    rows = arrivals.rows(database, "SELECT * FROM transactions ORDER BY occurred_at")
    assert [row["kind"] for row in rows] == ["c-echo", "c-store"]
    assert rows[1]["detail"] == "ab"
    assert rows[1]["duration_seconds"] == 0.25
    assert transactions.extend_chain().position == 2
