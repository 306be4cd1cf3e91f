"""The announcing process: what is handed to it reaches the broker, whatever becomes of it.

Not covered here: the outbox itself (tests/unit/shared/storage/test_outbox.py), and its
end with the receiver (tests/faults/test_receiver.py).
"""

import os
import signal
import time

import pika
import pytest

from draw_scp.adapters import announcer as module
from draw_scp.adapters.announcer import Announcer
from draw_scp.models import TransactionLine
from draw_scp.pipe_messages import AnnouncerConfig
from draw_shared.contracts.instance import InstanceStoredV2
from draw_shared.contracts.transaction import (
    TransactionKind,
    TransactionOutcome,
    TransactionsRecordedV1,
)
from draw_shared.messaging import topology
from draw_shared.storage import spool
from support.datasets import series
from support.receptions import DEFAULT, opened, receive
from support.waiting import wait_until

DONE = TransactionLine(0.0, TransactionKind.C_STORE, TransactionOutcome.SUCCESS, "a1", status=0)
HERE = AnnouncerConfig(DEFAULT, log_received=True, log_level="INFO")


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path)
    yield store
    store.stop(1)


@pytest.fixture
def queues(broker_url):
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        channel = connection.channel()
        topology.declare(channel)
        yield channel


@pytest.fixture
def announcer(store, queues, broker_url, monkeypatch):
    monkeypatch.setenv("DRAW_STORAGE_ROOT", str(store.root))
    monkeypatch.setenv("DRAW_REPLICA", store.spool.name)
    monkeypatch.setenv("DRAW_BROKER_URL", broker_url)
    monkeypatch.setenv("DRAW_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    announcer = Announcer(lambda: HERE, lambda _: None, lambda _: None, store.spool)
    announcer.start()
    yield announcer
    announcer.stop(10)


def taken(channel, queue, message):
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found += [message.from_bytes(line) for line in got[2].splitlines()]
    return found


def stored_uids(channel):
    events = taken(channel, topology.INSTANCE_STORED, InstanceStoredV2)
    return {event.sop_instance_uid for event in events}


def recorded(channel):
    """Return the lines of the audit trail that have come."""
    events = taken(channel, topology.TRANSACTIONS, TransactionsRecordedV1)
    return [record for event in events for record in event.records]


def received(store, announcer, objects):
    uids = set()
    for made in objects:
        stored, _ = receive(store, made)
        announcer.announce(stored)
        uid = str(made.SOPInstanceUID)
        announcer.record(DONE._replace(occurred_at=time.time(), sop_instance_uid=uid))
        uids.add(uid)
    announcer.flush()
    return uids


def test_objects_and_transactions_reach_the_broker(store, queues, announcer):
    begun = time.time()
    uids = received(store, announcer, series(5))
    assert wait_until(lambda: not spool.entries(store.spool), 60)
    assert stored_uids(queues) == uids
    assert announcer.connected
    announcer.stop(10)
    records = recorded(queues)
    assert {record.sop_instance_uid for record in records} == uids
    assert {(r.association_id, r.kind, r.replica) for r in records} == {("a1", "c-store", "one")}
    assert all(begun - 0.001 <= r.occurred_at.timestamp() <= time.time() for r in records)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_ends_or_hangs_is_replaced_and_nothing_is_lost(
    store, queues, announcer, monkeypatch, number
):
    monkeypatch.setattr(module, "SILENCE_TIMEOUT_SECONDS", 8)
    assert wait_until(lambda: announcer.connected, 60)
    first = announcer._process.pid
    os.kill(first, number)
    uids = received(store, announcer, series(20))
    assert wait_until(lambda: announcer._process.pid != first, 60)
    uids |= received(store, announcer, series(20))
    assert wait_until(lambda: not spool.entries(store.spool), 60)
    assert stored_uids(queues) == uids
    announcer.stop(10)
    lines = recorded(queues)
    assert {line.sop_instance_uid for line in lines} == uids, "nor is a line of the audit trail"
    assert len({line.record_id for line in lines}) == len(uids)


def test_what_it_never_heard_of_is_found_in_the_folder(store, queues, announcer, monkeypatch):
    assert wait_until(lambda: announcer.connected, 60)
    monkeypatch.setattr(module, "MAX_HELD_OBJECTS", 3)
    uids = received(store, announcer, series(20))
    assert wait_until(lambda: not spool.entries(store.spool), 60)
    assert stored_uids(queues) == uids


def test_its_end_announces_what_it_has(store, queues, announcer):
    assert wait_until(lambda: announcer.connected, 60)
    uids = received(store, announcer, series(50))
    announcer.stop(10)
    assert not spool.entries(store.spool)
    assert stored_uids(queues) == uids
