"""Dead letters on a real broker: looked at, put back, thrown away.

How messages become dead letters is covered by the tests of the consumers.
"""

import pika
import pytest

from draw_shared.messaging import connection, topology
from draw_shared.messaging.dead_letters import QUEUES, DeadLetters

pytestmark = pytest.mark.integration

QUEUE = "indexer.dead"
WORK = topology.TRANSACTIONS


@pytest.fixture
def channel(broker_url):
    made = connection.connect(broker_url, "test")
    channel = made.channel()
    topology.declare(channel)
    channel.confirm_delivery()
    yield channel
    made.close()


@pytest.fixture
def letters(broker_url):
    return DeadLetters(broker_url, client="test")


def put(channel, body, **headers):
    given = {"x-draw-queue": WORK, "x-draw-routing-key": "transactions.recorded.v1"}
    properties = pika.BasicProperties(headers=given | {"x-draw-reason": "Broken: why"} | headers)
    channel.basic_publish("", QUEUE, body, properties)


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def test_every_dead_letter_queue_is_known():
    assert QUEUES[0] == topology.UNROUTABLE
    assert {"indexer.dead", "qr-worker.dead"} <= set(QUEUES)


def test_looking_leaves_everything_in_place(channel, letters):
    for body in (b'{"a": 1}', b'{"a": 2}'):
        put(channel, body)
    for _ in range(25):
        seen = letters.look(QUEUE)
        assert [one.body for one in seen] == ['{"a": 1}', '{"a": 2}']
    assert seen[0].reason == "Broken: why"
    assert seen[0].consumer_queue == WORK
    assert seen[0].routing_key == "transactions.recorded.v1"


def test_one_or_all_go_back_to_where_they_failed_as_new(channel, letters):
    for body in (b"one", b"two", b"three"):
        put(channel, body, **{"x-draw-attempt": 5})
    key = letters.look(QUEUE)[1].key
    assert letters.put_back(QUEUE, key) == 1
    method, properties, body = channel.basic_get(WORK, auto_ack=True)
    assert (method.routing_key, body) == (WORK, b"two")
    assert not any(name.startswith("x-draw") for name in properties.headers or {})
    assert letters.put_back(QUEUE) == 2
    assert (depth(channel, QUEUE), depth(channel, WORK)) == (0, 2)
    assert letters.put_back(QUEUE, key) == 0


def test_one_is_thrown_away(channel, letters):
    for body in (b"one", b"two"):
        put(channel, body)
    assert letters.discard(QUEUE, letters.look(QUEUE)[0].key) == 1
    assert [one.body for one in letters.look(QUEUE)] == ["two"]


def test_what_no_queue_wanted_is_routed_again(channel, letters):
    channel.basic_publish(topology.EVENTS, "nobody.wants.v1", b"{}")
    seen = letters.look(topology.UNROUTABLE)
    assert [(one.routing_key, one.consumer_queue) for one in seen] == [("nobody.wants.v1", "")]
    assert letters.put_back(topology.UNROUTABLE, seen[0].key) == 1
    assert depth(channel, topology.UNROUTABLE) == 1
