"""Back-off by exception type; the waiting itself is the database's (integration tests)."""

import pytest

from draw_qr_worker.models import InvalidJob, StatusPermanent
from draw_qr_worker.services.retries import RetryPolicy
from draw_shared.dicom.network.peer_failures import PeerRejected, PeerTimeout
from draw_shared.errors import Permanent, Transient


def exact(_low: float, _high: float) -> float:
    return 1.0


@pytest.mark.parametrize(("used", "seconds"), [(0, 5.0), (1, 30.0), (2, 120.0), (3, 600.0)])
def test_transient_failures_wait_longer_each_time(used, seconds):
    assert RetryPolicy(exact).delay_seconds(PeerTimeout("silent"), used) == seconds


def test_the_fifth_transient_failure_is_final():
    retries = RetryPolicy(exact)
    assert retries.delay_seconds(PeerTimeout("silent"), 4) is None
    assert retries.delay_seconds(PeerTimeout("silent"), 3) is not None


@pytest.mark.parametrize(
    "error", [PeerRejected("x"), StatusPermanent("x"), InvalidJob("x"), KeyError("x")]
)
def test_anything_but_transient_is_never_tried_again(error):
    assert RetryPolicy(exact).delay_seconds(error, 0) is None


def test_jitter_moves_a_delay_by_up_to_a_fifth():
    assert RetryPolicy(lambda low, _: low).delay_seconds(PeerTimeout("x"), 0) == pytest.approx(4.0)
    assert RetryPolicy(lambda _, high: high).delay_seconds(PeerTimeout("x"), 0) == pytest.approx(
        6.0
    )


@pytest.mark.parametrize(
    ("error", "used", "left", "delay"),
    [
        (Transient("x"), 9, 10_000.0, 600.0),
        (Permanent("x"), 0, 10_000.0, 5.0),
        (Transient("x"), 9, 60.0, 60.0),
        (Transient("x"), 0, 0.0, None),
        (InvalidJob("x"), 0, 10_000.0, None),
        (ValueError("x"), 0, 10_000.0, None),
    ],
)
def test_what_has_a_deadline_is_tried_until_then(error, used, left, delay):
    assert RetryPolicy(lambda *_: 1.0).delay_seconds(error, used, left) == delay
