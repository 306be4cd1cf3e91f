"""The audit trail, and what was announced, on a real file system that is full."""

import time
from uuid import uuid4

import pytest

from draw_scp.adapters import journal
from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.models import TransactionLine
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.storage import outbox, spool
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.outbox import SpoolOutbox
from draw_shared.storage.places import Places
from support.datasets import series
from support.publishing import FakePublisher
from support.receptions import DEFAULT, opened, receive
from support.small_disk import fill, mounted
from support.waiting import wait_until

BATCH = 500


@pytest.fixture
def folder(tmp_path):
    with mounted(tmp_path / "disk", "size=64m") as folder:
        yield folder


def record(log, number):
    for n in range(number):
        at = time.time()
        log.record(
            TransactionLine(
                at, TransactionKind.C_STORE, TransactionOutcome.FAILURE, f"association {n}"
            ),
            uuid4(),
        )
    log.flush()
    return number


def account(publisher):
    """Return how many lines there are, and how many are said to be lost."""
    records = {r.record_id: r for message in publisher.messages for r in message.records}.values()
    lost = [r.objects for r in records if r.action == "transactions.lost"]
    return len(records) - len(lost), sum(lost)


def test_a_full_disk_costs_no_line_while_the_broker_takes_them(folder):
    publisher = FakePublisher()
    log = TransactionLog(folder, publisher, "one")
    log.start()
    assert wait_until(lambda: log._journal.reserved)
    fill(folder)
    recorded = 0
    for _ in range(3 * log.reserve_bytes // journal.SEGMENT_BYTES):
        recorded += record(log, BATCH)
        log._turn()
    assert log.reserve_bytes, "room that is free again goes to the reserve, not to objects"
    log.stop(5)
    assert account(publisher) == (recorded, 0)


def test_a_full_disk_and_no_broker_cost_no_line_however_slowly_they_come(folder):
    publisher = FakePublisher()
    publisher.connected = False
    log = TransactionLog(folder, publisher, "one")
    log._journal.start()
    fill(folder)
    # More turns than there are segments in reserve.
    recorded = 0
    for _ in range(4 * log.reserve_bytes // journal.SEGMENT_BYTES):
        recorded += record(log, 10)
        log._turn()
    log.stop(5)
    lines = [path.read_bytes().count(b"c-store") for path in folder.glob("*.jsonl")]
    assert (sum(lines), len(lines)) == (recorded, 1)


def test_what_no_room_is_left_for_is_counted_also_over_a_restart(folder, monkeypatch):
    monkeypatch.setattr("draw_scp.adapters.transaction_log.MAX_HELD", BATCH)
    publisher = FakePublisher()
    publisher.connected = False
    told = []
    log = TransactionLog(folder, publisher, "one", told.append)
    log._journal.start()
    filler = fill(folder)
    recorded = sum(record(log, BATCH) for _ in range(12))
    on_disk = sum(path.read_bytes().count(b"c-store") for path in folder.glob("*.jsonl*"))
    assert on_disk + BATCH + sum(told) == recorded
    # As if killed: what it held is gone with it, and its successor finds that said.
    successor = TransactionLog(folder, publisher, "one")
    publisher.connected = True
    successor.start()
    assert wait_until(lambda: not spool.segments(folder))
    assert account(publisher) == (on_disk, recorded - on_disk)
    filler.unlink()
    assert wait_until(lambda: successor._journal.reserved)
    successor.stop(5)


@pytest.fixture
def full(folder, monkeypatch):
    """An outbox whose announcements were confirmed, and whose disk takes no record of them."""
    monkeypatch.setattr(outbox, "RETRY_DELAY_SECONDS", 0.1)
    store, publisher = opened(folder), FakePublisher()
    for made in series(3):
        receive(store, made)
    filler = fill(folder)
    announcing = SpoolOutbox(store, publisher, lambda: DEFAULT)
    announcing.start()
    assert wait_until(lambda: len(publisher.messages) == 3)
    yield store, publisher, filler
    announcing.stop(5)
    store.stop(5)


def test_without_room_for_a_record_what_was_announced_stays_in_the_spool(full):
    store, publisher, filler = full
    time.sleep(0.5)
    assert len(spool.entries(store.spool)) == 3
    filler.unlink()
    assert wait_until(lambda: not spool.entries(store.spool))
    records = AnnouncedRecords(store.root)
    recorded = [one for name in records.names(10) for one in records.read(name).objects]
    assert {one.path for one in recorded} == {
        Places(store.root).unseal(one) for one in publisher.messages
    }
    assert len(publisher.messages) == 3, "waiting for room is no reason to announce again"


def test_a_full_disk_does_not_keep_the_rest_from_being_announced(full, monkeypatch):
    store, _, _ = full
    assert len(spool.entries(store.spool)) == 3
    monkeypatch.setattr(outbox, "MAX_IN_FLIGHT", 3)
    assert wait_until(lambda: not spool.entries(store.spool))
    assert AnnouncedRecords(store.root).names(10) == []
