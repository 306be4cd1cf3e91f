"""How many passwords may be tried: also at the same time, and from how much of a network."""

from contextlib import suppress

import pytest

from draw_api.adapters import passwords
from draw_api.adapters.passwords import FailedAttempts
from draw_shared.contracts.failures import TooManyAttempts

pytestmark = pytest.mark.security

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def fail(attempts, name, address):
    with attempts.begin(name, address):
        pass


def test_those_under_way_count_as_failed_until_one_has_succeeded():
    attempts = FailedAttempts()
    under_way = [attempts.begin("curie", HERE) for _ in range(5)]
    with pytest.raises(TooManyAttempts) as refused:
        attempts.begin("curie", HERE)
    assert refused.value.retry_after_seconds <= 2
    attempts.begin("joliot", HERE)
    attempts.begin("curie", THERE)
    with under_way[0] as right:
        right.succeed()
    attempts.begin("curie", HERE)


def test_failures_count_for_a_minute():
    clock = Clock()
    attempts = FailedAttempts(clock)
    for _ in range(5):
        fail(attempts, "curie", HERE)
    clock.now = 59.0
    with pytest.raises(TooManyAttempts) as refused:
        attempts.begin("curie", HERE)
    assert refused.value.retry_after_seconds == 2
    clock.now = 60.0
    attempts.begin("curie", HERE)


def test_what_could_not_be_tried_is_no_failure():
    attempts = FailedAttempts()
    for _ in range(30):
        with suppress(OSError), attempts.begin("curie", HERE):
            raise OSError
    attempts.begin("curie", HERE)


def test_many_addresses_of_one_network_are_one():
    attempts = FailedAttempts()
    for number in range(20):
        fail(attempts, f"name{number}", f"2001:db8::{number:x}")
    with pytest.raises(TooManyAttempts):
        attempts.begin("name", "2001:db8::ffff:1")
    attempts.begin("name", "2001:db8:0:1::1")
    attempts.begin("name", "::1")


def test_a_flood_of_names_makes_nobody_forgotten_who_failed_just_now(monkeypatch):
    monkeypatch.setattr(passwords, "MAX_REMEMBERED", 40)
    clock = Clock()
    attempts = FailedAttempts(clock)
    for number in range(200):
        clock.now += 0.001
        fail(attempts, "name", f"192.0.2.{number}")
        assert len(attempts._failures) <= 42
    for _ in range(5):
        fail(attempts, "curie", HERE)
    fail(attempts, "name", "198.51.100.1")
    with pytest.raises(TooManyAttempts):
        attempts.begin("curie", HERE)
