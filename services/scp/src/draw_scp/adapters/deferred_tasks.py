"""Runs what can wait until the peer has its answer: counting, audit, log lines.

One thread runs all tasks in order, a few hundredths of a second after they were added; it works
while the threads of associations wait for the disk. When the process is killed, the last tasks
are lost; they hold no acknowledged data.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
from typing_extensions import override

from draw_scp.ports.operations import Arguments, Deferral

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 0.05


class DeferredTasks(Deferral):
    """A queue of small tasks."""

    name = "deferred-tasks"

    def __init__(self, after_each_turn: Callable[[], None] = lambda: None) -> None:
        self._after_each_turn = after_each_turn
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @override
    def __call__(self, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        self._waiting.append((action, arguments))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Run the remaining tasks."""
        self._stopping.set()
        self._thread.join(deadline_seconds)

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            self._work()
        self._work()

    def _work(self) -> None:
        while self._waiting:
            try:
                action, arguments = self._waiting.popleft()
                action(*arguments)
            except Exception:
                log.exception("afterwards.failed")
        self._after_each_turn()
