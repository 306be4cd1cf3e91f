"""Decides when a failed execution is retried: after 5, 30, 120 and 600 seconds, with jitter.

The exception's type alone decides. Transient is retried while tries are left; Permanent and every
unforeseen exception is not. A job with a moment at which it is given up (a delivery) is retried
until then.
"""

from collections.abc import Callable
from typing import Final

from draw_qr_worker.models import InvalidJob, NothingThere
from draw_shared.errors import Permanent, Transient

BACK_OFF_SECONDS: Final = (5.0, 30.0, 120.0, 600.0)
JITTER: Final = 0.2
"""Each delay varies by up to this share, so that many jobs do not return together."""


class RetryPolicy:
    """Says how long to wait before the next try, or that there is none."""

    def __init__(
        self,
        uniform: Callable[[float, float], float],
        back_off_seconds: tuple[float, ...] = BACK_OFF_SECONDS,
    ) -> None:
        self._uniform = uniform
        self._back_off = back_off_seconds

    def delay_seconds(
        self, error: BaseException, retries_used: int, left_seconds: float | None = None
    ) -> float | None:
        """Return the delay before the next try, or None when `error` is final.

        With `left_seconds`, the time until the job is given up, whatever a peer does is tried
        again until then: it may be another peer by Monday.
        """
        if left_seconds is not None:
            final = isinstance(error, InvalidJob | NothingThere) or left_seconds <= 0
            if final or not isinstance(error, Transient | Permanent):
                return None
            retries_used = min(retries_used, len(self._back_off) - 1)
        elif not isinstance(error, Transient) or retries_used >= len(self._back_off):
            return None
        delay = self._back_off[retries_used] * self._uniform(1 - JITTER, 1 + JITTER)
        return delay if left_seconds is None else min(delay, left_seconds)
