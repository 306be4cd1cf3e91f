"""The outbox announces everything at least once and removes entries only after the confirm."""

import time

import pytest

from draw_shared.storage import outbox as module
from draw_shared.storage import spool
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.outbox import SpoolOutbox, ae_title
from draw_shared.storage.places import Places
from support.datasets import build, series
from support.publishing import FakePublisher
from support.receptions import DEFAULT, opened, receive
from support.waiting import wait_until


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path)
    yield store
    store.stop(1)


@pytest.fixture
def publisher():
    return FakePublisher()


@pytest.fixture
def outbox(store, publisher):
    made = SpoolOutbox(store, publisher, lambda: DEFAULT)
    yield made
    made._stopping.set()
    if made._thread.is_alive():
        made._thread.join(5)


def opened_paths(store, messages):
    return [Places(store.root).unseal(message) for message in messages]


def test_an_object_is_announced_and_its_entry_removed(store, publisher, outbox):
    outbox.start()
    stored, _ = receive(store, build())
    outbox.announce(stored)
    assert wait_until(lambda: not spool.entries(store.spool))
    event = publisher.messages[0]
    assert (opened_paths(store, [event]), event.content_sha256) == (
        [stored.path],
        stored.content_sha256,
    )
    assert stored.path.encode() not in event.to_bytes()
    assert (event.association_id, event.calling_ae) == ("a1", "SENDER")
    assert (event.move_originator_ae, event.move_originator_message_id) == ("MOVER", 7)


def test_what_a_crash_left_is_announced_from_the_files(store, publisher, outbox):
    paths = {receive(store, made)[0].path for made in series(5)}
    outbox.start()
    assert wait_until(lambda: not spool.entries(store.spool))
    assert set(opened_paths(store, publisher.messages)) == paths


def test_what_was_found_in_the_folder_is_not_announced_again(store, publisher, outbox):
    stored, _ = receive(store, build())
    outbox.start()
    assert wait_until(lambda: not spool.entries(store.spool))
    outbox.announce(stored)
    assert wait_until(lambda: not outbox._known)
    assert len(publisher.messages) == 1


def test_without_a_broker_all_stays_and_memory_is_bounded(store, publisher, outbox, monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD", 3)
    publisher.connected = False
    outbox.start()
    paths = set()
    for made in series(10):
        stored, _ = receive(store, made)
        outbox.announce(stored)
        paths.add(stored.path)
    time.sleep(0.3)
    assert len(outbox._arrived) <= 3
    assert spool.backlog(store.spool)[0] == 10
    assert spool.backlog(store.spool)[1] >= 0.2
    publisher.connected = True
    assert wait_until(lambda: not spool.entries(store.spool))
    assert set(opened_paths(store, publisher.messages)) == paths


def test_what_was_refused_is_published_again(store, publisher, outbox, monkeypatch):
    monkeypatch.setattr(module, "RETRY_DELAY_SECONDS", 0.1)
    publisher.answer = False
    stored, _ = receive(store, build())
    outbox.start()
    assert wait_until(lambda: publisher.messages)
    assert spool.entries(store.spool) == [stored.entry]
    publisher.answer = True
    assert wait_until(lambda: not spool.entries(store.spool))


def test_unconfirmed_entries_stay(store, publisher, outbox):
    publisher.answer = None
    stored, _ = receive(store, build())
    outbox.start()
    assert wait_until(lambda: publisher.messages)
    time.sleep(0.3)
    assert spool.entries(store.spool) == [stored.entry]


def test_what_was_confirmed_is_on_record_before_its_entry_goes(
    store, publisher, outbox, monkeypatch
):
    publisher.answer = None
    made = [receive(store, one)[0] for one in series(3)]
    released = []

    def release(objects):
        recorded = {one.path for name in records.names(10) for one in records.read(name).objects}
        assert recorded >= {one.path for one in objects}
        released.extend(objects)

    records = AnnouncedRecords(store.root)
    monkeypatch.setattr(store, "release", release)
    outbox.start()
    assert wait_until(lambda: len(publisher.messages) == 3)
    assert records.names(10) == [], "nothing is confirmed yet"
    for sent in list(publisher.unanswered):
        sent(True)
    assert wait_until(lambda: len(released) == 3)
    assert {one.path for one in released} == {one.path for one in made}


def test_a_damaged_entry_is_set_aside_and_the_others_go_on(store, publisher, outbox):
    stored, _ = receive(store, build())
    (store.spool / "000000000000001aaaa.dcm").write_bytes(b"damaged")
    outbox.start()
    assert wait_until(lambda: not spool.entries(store.spool))
    assert opened_paths(store, publisher.messages) == [stored.path]
    assert len(list(store.spool.glob("*.damaged"))) == 1


@pytest.mark.parametrize(
    ("given", "expected"), [("", "UNKNOWN"), ("  A ", "A"), ("A\\B", "A?B"), ("x" * 20, "x" * 16)]
)
def test_odd_titles_can_be_announced(given, expected):
    assert ae_title(given) == expected
