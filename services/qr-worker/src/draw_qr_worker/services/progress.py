"""A job's progress for operators: counts, rate and expected end."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from draw_qr_worker.models import SubOperationCounts

RATE_WINDOW_SECONDS: Final = 10.0
"""The rate covers only the last seconds, because older transfers say little about the end."""
REPORT_INTERVAL_SECONDS: Final = 0.2


class ProgressReporter(Protocol):
    """Shows progress."""

    def report(self, **values: object) -> None:
        """Show these values."""


class Progress:
    """Counts what one execution has brought and shows it, at most a few times per second."""

    def __init__(
        self, shown: ProgressReporter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shown = shown
        self._clock = clock
        self._marks: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])
        self._before = SubOperationCounts(0, 0, 0, 0)
        self._now = SubOperationCounts(0, 0, 0, 0)
        self._counted = False
        self._written_at = 0.0
        self.expected: int | None = None
        self.already = 0
        self.arrived = 0
        self.bytes = 0
        self.warnings = 0

    @property
    def completed(self) -> int:
        """Sub-operations that succeeded, as the peer reports."""
        return (self._before.completed or 0) + (self._now.completed or 0)

    @property
    def failed(self) -> int:
        """Sub-operations that failed, as the peer reports."""
        return (self._before.failed or 0) + (self._now.failed or 0)

    @property
    def warning(self) -> int:
        """Sub-operations that ended with a warning, as the peer reports."""
        return (self._before.warning or 0) + (self._now.warning or 0)

    @property
    def counts(self) -> SubOperationCounts:
        """The peer's latest counts for the current request; None where it never reported one."""
        return self._now if self._counted else SubOperationCounts()

    def update_counts(self, counts: SubOperationCounts) -> None:
        """Record the peer's counts; a count that it leaves out stays as it was."""
        self._counted = self._counted or counts.completed is not None
        self._now = SubOperationCounts(
            _known(counts.remaining, self._now.remaining),
            _known(counts.completed, self._now.completed),
            _known(counts.failed, self._now.failed),
            _known(counts.warning, self._now.warning),
        )
        self.show()

    def next_request(self) -> None:
        """Begin a further request: keep the totals, and restart the peer's counts."""
        self._before = SubOperationCounts(0, self.completed, self.failed, self.warning)
        self._now = SubOperationCounts(0, 0, 0, 0)
        self._counted = False

    def update_arrived(self, arrived: int, size_bytes: int) -> None:
        """Record what is here now."""
        self.arrived, self.bytes = arrived, size_bytes
        self.show()

    def show(self, phase: str = "", *, now: bool = False) -> None:
        """Show the progress; a new phase is shown at once."""
        moment = self._clock()
        if not (now or phase) and moment - self._written_at < REPORT_INTERVAL_SECONDS:
            return
        self._written_at = moment
        rate, objects = self._rates(moment)
        remaining = self._remaining()
        values: dict[str, object] = {
            "expected": self.expected,
            "arrived": self.arrived,
            "already_here": self.already,
            "remaining": remaining,
            "completed": self.completed,
            "failed": self.failed,
            "warning": self.warning,
            "bytes": self.bytes,
            "bytes_per_second": round(rate),
            "objects_per_second": round(objects, 1),
            "eta_seconds": round(remaining / objects, 1) if remaining and objects else None,
        }
        self._shown.report(**values, **({"phase": phase} if phase else {}))

    def _remaining(self) -> int | None:
        if self.expected is not None:
            return max(0, self.expected - max(self.arrived, self.completed + self.warning))
        return self._now.remaining

    def _rates(self, moment: float) -> tuple[float, float]:
        done = max(self.arrived - self.already, self.completed + self.warning)
        self._marks.append((moment, self.bytes, done))
        while len(self._marks) > 2 and moment - self._marks[0][0] > RATE_WINDOW_SECONDS:  # noqa: PLR2004 - two make a rate
            self._marks.popleft()
        began, first_bytes, first_done = self._marks[0]
        seconds = max(moment - began, 0.001)
        return (self.bytes - first_bytes) / seconds, max(0, done - first_done) / seconds


def _known(new: int | None, old: int | None) -> int | None:
    return old if new is None else new
