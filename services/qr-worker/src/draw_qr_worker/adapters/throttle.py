"""Keeps an association below the bytes a second that its node may be burdened with."""

import time
from collections.abc import Callable
from typing import Final

from draw_qr_worker.models import RemoteNode
from draw_qr_worker.ports.supervision import Supervision

PAUSE_SECONDS: Final = 0.2
BURST_SECONDS: Final = 1.0
"""What was not used in the last second may be used at once."""


def rate_of(node: RemoteNode) -> float:
    """Return one association's share of the node's limit, which is for all of them together."""
    return node.max_bytes_per_second / node.max_associations


class Throttle:
    """Slows its caller down to so many bytes a second; 0 is no limit."""

    def __init__(
        self,
        bytes_per_second: float,
        supervision: Supervision,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._supervision = supervision
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    def used(self, size: int) -> None:
        """Wait until what was used so far is within the limit, unless the job shall stop."""
        if not self._rate:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - BURST_SECONDS) + size / self._rate
        while (left := self._free_at - self._clock()) > 0 and not self._supervision.ended():
            self._sleep(min(left, PAUSE_SECONDS))
