"""Repetition, failure and waking of a periodic action."""

import threading
import time

from draw_shared.errors import Transient
from draw_shared.runtime.periodic import Periodic


def test_it_goes_on_after_any_failure():
    calls: list[int] = []
    done = threading.Event()

    def action():
        calls.append(1)
        if len(calls) == 1:
            raise Transient("database away")
        if len(calls) == 2:
            raise RuntimeError("a bug")
        done.set()

    periodic = Periodic("example", action, interval_seconds=0.01)
    periodic.start()
    assert done.wait(5)
    periodic.stop(5)
    settled = len(calls)
    time.sleep(0.05)
    assert len(calls) == settled


def test_waking_does_not_wait_for_the_interval():
    calls: list[float] = []
    twice = threading.Event()

    def action():
        calls.append(time.monotonic())
        if len(calls) == 2:
            twice.set()

    periodic = Periodic("example", action, interval_seconds=60)
    periodic.start()
    while not calls:
        time.sleep(0.001)
    periodic.wake()
    assert twice.wait(5)
    periodic.stop(5)
