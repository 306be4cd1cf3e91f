"""Each service's user may do at the broker what the service does there, and nothing else.

What is judged is what RabbitMQ says to real attempts. That the rights suffice is for the e2e
tests: their suites run with these users.
"""

from contextlib import contextmanager

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from draw_shared.messaging import connection, topology
from draw_shared.messaging.rights import RIGHTS
from draw_shared.messaging.topology import NotThereYet, WorkQueue

pytestmark = pytest.mark.integration

EXCHANGES = (topology.EVENTS, topology.CONTROL, topology.NOTICES, topology.UNROUTABLE)
QUEUES = (
    topology.UNROUTABLE,
    *(
        name
        for part in topology.TOPOLOGY
        if isinstance(part, WorkQueue)
        for name in (part.name, part.rung(1), part.dead)
    ),
    "somebody.else",
)
OWN = {"indexer": ("indexer.", topology.UNROUTABLE), "qr-worker": ("qr-worker.",)}
"""By service, how the names of queues begin that it makes and reads."""
PUBLISHES = {
    "scp": {topology.EVENTS},
    "indexer": {*EXCHANGES, ""},
    "qr-worker": {topology.EVENTS, ""},
    "dicomweb": {topology.EVENTS},
    "api": {topology.EVENTS, topology.CONTROL, ""},
}
"""By service, exchanges that it writes to; the empty name leads to any queue."""
HEARS = ("scp", "indexer", "qr-worker", "dicomweb")
"""Services that are told of changes."""


@pytest.fixture(scope="module")
def vhost(broker):
    """A virtual host with everything in it, a queue of somebody else's too."""
    with broker.vhost() as url:
        with channel_of(url) as channel:
            topology.declare(channel)
            channel.queue_declare("somebody.else")
        yield url


@pytest.fixture(scope="module")
def users(broker, vhost):
    """By service, the virtual host as its user reaches it."""
    return broker.service_urls(vhost)


@contextmanager
def channel_of(url):
    made = pika.BlockingConnection(connection.parameters(url, "test"))
    try:
        yield made.channel()
    finally:
        if made.is_open:
            made.close()


def may(url, action):
    """Return whether the broker lets this user do it."""
    with channel_of(url) as channel:
        channel.confirm_delivery()
        try:
            action(channel)
        except ChannelClosedByBroker as error:
            if error.reply_code != topology.ACCESS_REFUSED:
                raise
            return False
        return True


def nothing(exchange):
    """Return what publishes a message that reaches nobody."""
    properties = pika.BasicProperties(headers={"alternate": "no"})
    key = "nobody" if exchange == "" else "test.nobody"
    return lambda channel: channel.basic_publish(exchange, key, b"", properties)


@pytest.mark.parametrize("service", RIGHTS)
def test_a_user_publishes_to_what_its_service_tells(service, users):
    found = {exchange for exchange in (*EXCHANGES, "") if may(users[service], nothing(exchange))}
    assert found == PUBLISHES[service]


@pytest.mark.parametrize("service", RIGHTS)
def test_a_user_reads_the_queues_of_its_service(service, users):
    found = {
        queue
        for queue in QUEUES
        if may(users[service], lambda channel, queue=queue: channel.basic_get(queue))
    }
    if service == "api":
        # What nobody could handle is looked at on the page.
        assert found == {name for name in QUEUES if name.endswith((".dead", ".unroutable"))}
    else:
        assert found == {name for name in QUEUES if name.startswith(OWN.get(service, ("-",)))}


@pytest.mark.parametrize("service", RIGHTS)
def test_a_user_neither_makes_nor_removes_what_belongs_to_others(service, users):
    own = OWN.get(service, ("-",))
    for queue in QUEUES:
        for action in (
            lambda channel, queue=queue: channel.queue_declare(queue, durable=True),
            lambda channel, queue=queue: channel.queue_purge(queue),
            lambda channel, queue=queue: channel.queue_bind(queue, topology.EVENTS, "#"),
        ):
            if not queue.startswith(own):
                allowed = may(users[service], action)
                purges = service == "api" and queue.endswith((".dead", ".unroutable"))
                assert not allowed or purges, (queue, service)
    for exchange in EXCHANGES:
        if service != "indexer":
            assert not may(
                users[service],
                lambda channel, exchange=exchange: channel.exchange_delete(exchange),
            )


@pytest.mark.parametrize("service", RIGHTS)
def test_a_user_hears_what_is_said_to_all_if_its_service_does(service, users):
    def listen(channel):
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, topology.CONTROL)
        channel.basic_get(queue)

    assert may(users[service], listen) == (service in HEARS)


def test_on_an_empty_broker_each_makes_its_own_and_the_others_wait(broker):
    with broker.vhost() as url:
        users = broker.service_urls(url)
        for service in ("scp", "api", "qr-worker", "dicomweb"):
            with pytest.raises(NotThereYet, match="others make it"):
                complete(users[service])
        for service in ("indexer", "scp", "api", "qr-worker", "dicomweb"):
            complete(users[service])
        with channel_of(url) as channel:
            for part in topology.TOPOLOGY:
                part.look(channel)


def complete(url):
    made = connection.connect(url, "test")
    try:
        topology.complete(made)
    finally:
        if made.is_open:
            made.close()
