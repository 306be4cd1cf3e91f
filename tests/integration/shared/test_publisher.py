"""What leaves for the broker: in order, joined where it may be, and each confirmed by itself."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from draw_shared.contracts.instance import SeriesStableV1
from draw_shared.messaging import connection, topology
from draw_shared.messaging.publisher import MAX_JOINED_MESSAGES, Publisher
from draw_shared.storage.outbox import event_of
from support import datasets
from support.receptions import opened, receive
from support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def events(tmp_path):
    store = opened(tmp_path)
    event = event_of(receive(store, datasets.build())[0])
    yield [event.model_copy(update={"size_bytes": number}) for number in range(120)]
    store.stop(1)


@pytest.fixture
def publisher(broker_url):
    publisher = Publisher(broker_url, client="test")
    yield publisher
    publisher.stop(5)


@pytest.fixture
def channel(broker_url):
    made = connection.connect(broker_url, "test")
    channel = made.channel()
    topology.declare(channel)
    yield channel
    made.close()


def taken(channel, queue):
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append((got[1].content_type, got[2]))
    return found


def test_what_waits_together_travels_together_in_order(publisher, channel, events):
    answers = []
    for number, event in enumerate(events):
        publisher.publish(event, lambda good, number=number: answers.append((number, good)))
    assert publisher.pending
    publisher.start()
    assert wait_until(lambda: len(answers) == len(events))
    assert answers == [(number, True) for number in range(len(events))]
    assert not publisher.pending
    came = taken(channel, topology.INSTANCE_STORED)
    lines = [body.splitlines() for _, body in came]
    assert [len(each) for each in lines] == [
        MAX_JOINED_MESSAGES,
        MAX_JOINED_MESSAGES,
        len(events) - 2 * MAX_JOINED_MESSAGES,
    ]
    assert {kind for kind, _ in came} == {"application/x-ndjson"}
    assert [line for each in lines for line in each] == [event.to_bytes() for event in events]


def test_another_message_is_not_overtaken_nor_joined(publisher, channel, events):
    stable = SeriesStableV1(
        event_id=uuid4(),
        occurred_at=datetime.now(UTC),
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        instances=1,
    )
    channel.queue_declare("all")
    channel.queue_bind("all", topology.EVENTS, "#")
    answers = []
    for message in (events[0], events[1], stable, stable, events[2]):
        publisher.publish(message, answers.append)
    publisher.start()
    assert wait_until(lambda: len(answers) == 5)
    assert taken(channel, "all") == [
        ("application/x-ndjson", events[0].to_bytes() + b"\n" + events[1].to_bytes()),
        ("application/json", stable.to_bytes()),
        ("application/json", stable.to_bytes()),
        ("application/json", events[2].to_bytes()),
    ]


def test_what_nobody_takes_is_refused_one_by_one(publisher, events):
    answers = []
    for number, event in enumerate(events[:3]):
        publisher.publish(
            event, lambda good, number=number: answers.append((number, good)), exchange=""
        )
    publisher.start()
    assert wait_until(lambda: len(answers) == 3)
    assert answers == [(0, False), (1, False), (2, False)]
