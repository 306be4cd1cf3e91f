"""Decides when a failed execution is retried: after 5, 30, 120 and 600 seconds, with jitter.

The exception's type alone decides. Transient is retried while tries are left; Permanent and every
unforeseen exception is not.
"""

from collections.abc import Callable
from typing import Final

from draw_shared.errors import Transient

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

    def delay_seconds(self, error: BaseException, retries_used: int) -> float | None:
        """Return the delay before the next try, or None when `error` is final."""
        if not isinstance(error, Transient) or retries_used >= len(self._back_off):
            return None
        return self._back_off[retries_used] * self._uniform(1 - JITTER, 1 + JITTER)
