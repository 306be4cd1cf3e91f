"""Wake-ups on the control fanout reach every listener of a real RabbitMQ.

That listening goes on after the broker was away is seen in the fault tests.
"""

from uuid import uuid4

import pika
import pytest

from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.messaging import topology
from draw_shared.messaging.control import ControlListener
from draw_shared.messaging.publisher import Publisher
from support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def say(broker_url):
    """Return a function that says something to everybody."""
    publisher = Publisher(broker_url, client="test")
    publisher.start()
    yield lambda message: publisher.publish(message, exchange=topology.CONTROL)
    publisher.stop(5)


@pytest.fixture
def listening(broker_url):
    """Return a function that starts one more listener and returns what it hears."""
    started = []

    def start(subject):
        heard = []
        listener = ControlListener(broker_url, client=f"test-{len(started)}")
        listener.on(subject, heard.append)
        listener.start()
        started.append(listener)
        assert wait_until(lambda: listener.connected)
        return heard

    yield start
    for listener in started:
        listener.stop(5)


def test_every_replica_hears_what_it_listens_for_and_nothing_else(say, listening):
    jobs, more_jobs, configs = (
        listening(subject)
        for subject in (ControlSubject.JOB, ControlSubject.JOB, ControlSubject.CONFIG)
    )
    message = ControlV1(subject=ControlSubject.JOB, job_id=uuid4())
    say(message)
    assert wait_until(lambda: jobs and more_jobs)
    say(ControlV1(subject=ControlSubject.CONFIG))
    assert wait_until(lambda: configs)
    assert (jobs, more_jobs) == ([message], [message])


def test_a_listener_goes_on_after_what_it_does_not_understand(broker_url, say, listening):
    heard = listening(ControlSubject.CONFIG)
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        connection.channel().basic_publish(topology.CONTROL, "", b'{"subject": "tomorrow"}')
    say(ControlV1(subject=ControlSubject.CONFIG))
    assert wait_until(lambda: heard)


def test_nothing_stays_on_the_broker_when_a_listener_ends(broker_url):
    listener = ControlListener(broker_url, client="test")
    listener.start()
    assert wait_until(lambda: listener.connected)
    listener.stop(5)
    assert not listener.connected
