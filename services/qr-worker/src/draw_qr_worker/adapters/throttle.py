"""Keeps an association below the bytes per second that its node may receive or send."""

import time
from collections.abc import Callable
from typing import Final

from draw_qr_worker.models import RemoteNode
from draw_qr_worker.ports.supervision import Supervision

MAX_PAUSE_SECONDS: Final = 0.2
BURST_SECONDS: Final = 1.0
"""Unused allowance of the last second may be used at once."""


def rate_of(node: RemoteNode) -> float:
    """Return one association's share of the node's limit, which covers all its associations."""
    return node.max_bytes_per_second / node.max_associations


class Throttle:
    """Delays its caller to a maximum of bytes per second; 0 means no limit."""

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

    def use(self, size: int) -> None:
        """Wait until the bytes used so far are within the limit, unless the job must stop."""
        if not self._rate:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - BURST_SECONDS) + size / self._rate
        while (left := self._free_at - self._clock()) > 0 and not self._supervision.ended():
            self._sleep(min(left, MAX_PAUSE_SECONDS))
