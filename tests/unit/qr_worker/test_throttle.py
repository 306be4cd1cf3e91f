"""An association stays below its share of the node's bytes a second, and can be stopped."""

from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import RemoteNode


class Supervised:
    def __init__(self):
        self.over = False

    def ended(self):
        return self.over

    def check(self):
        """Nothing ends by itself here."""


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_what_is_used_takes_its_time():
    clock = Clock()
    throttle = Throttle(1000, Supervised(), clock, clock.sleep)
    for _ in range(50):
        throttle.use(100)
    assert 4.9 <= clock.now - 50 <= 5.1


def test_a_pause_earns_no_more_than_a_second():
    clock = Clock()
    throttle = Throttle(1000, Supervised(), clock, clock.sleep)
    clock.now += 100
    throttle.use(3000)
    assert 1.9 <= clock.now - 150 <= 2.1


def test_no_limit_never_waits():
    clock = Clock()
    Throttle(0, Supervised(), clock, clock.sleep).use(10**9)
    assert clock.now == 50


def test_a_job_that_shall_stop_is_not_held():
    clock, supervised = Clock(), Supervised()
    supervised.over = True
    Throttle(1, supervised, clock, clock.sleep).use(10**6)
    assert clock.now == 50


def test_the_limit_of_a_node_is_shared_by_its_associations():
    node = RemoteNode(1, "n", "AE", "h", 104, max_associations=4, max_bytes_per_second=1000)
    assert rate_of(node) == 250
