"""Back-off by exception type; the waiting itself is the database's (integration tests)."""

import pytest

from draw_qr_worker.models import InvalidJob, StatusPermanent
from draw_qr_worker.services.retries import RetryPolicy
from draw_shared.dicom.network.peer_failures import PeerRejected, PeerTimeout


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
