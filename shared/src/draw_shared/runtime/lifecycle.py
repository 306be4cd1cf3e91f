"""The life of a service process: starting, ready, draining, stopped.

One `Lifecycle` owns the process's signals and runs on the main thread. It starts the components
in the given order and stops them in reverse: first the edge, which is given last, then the work,
then the connections. SIGTERM or SIGINT begins the drain; a second signal ends the process at
once. If a component fails to start, the components before it are stopped.
"""

import gc
import os
import signal
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from types import FrameType
from typing import Final, Protocol

import structlog

log = structlog.get_logger()

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class State(StrEnum):
    """The stage of the process's life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Component(Protocol):
    """A part of the process that can be started and stopped."""

    name: str

    def start(self) -> None:
        """Start and return soon; slow connections are made in the background."""

    def stop(self, deadline_seconds: float) -> None:
        """Accept no new work, finish the running work and release resources before the deadline."""


class Lifecycle:
    """Runs the components of one process until a stop is requested."""

    def __init__(self, components: Sequence[Component], *, grace_seconds: float) -> None:
        self._components = list(components)
        self._grace = grace_seconds
        self._stop = threading.Event()
        self._state = State.STARTING
        self.started_at = time.time()
        self.exit_code = 0

    @property
    def state(self) -> State:
        """The stage of the process's life."""
        return self._state

    def run(self) -> int:
        """Start all components, wait for the stop request, stop them, and return the exit code."""
        self._listen_to_signals()
        running: list[Component] = []
        try:
            for component in self._components:
                if self._stop.is_set():
                    break
                component.start()
                running.append(component)
            # All present objects live on, so the garbage collector need not scan them again.
            gc.collect()
            gc.freeze()
            gc.enable()
            self._state = State.READY
            log.info("service.ready")
            self._stop.wait()
        except Exception:
            log.exception("service.start_failed")
            self.exit_code = 1
        finally:
            self._drain(running)
        return self.exit_code

    def _drain(self, running: list[Component]) -> None:
        self._state = State.DRAINING
        log.info("service.draining")
        deadline = time.monotonic() + self._grace
        for component in reversed(running):
            left = max(0.1, deadline - time.monotonic())
            try:
                component.stop(left)
            except Exception:
                log.exception("service.stop_failed", component=component.name)
                self.exit_code = 1
        self._state = State.STOPPED
        log.info("service.stopped", exit_code=self.exit_code)

    def _listen_to_signals(self) -> None:
        # Python runs handlers between the main thread's instructions, so a signal just before a
        # wait would be handled only after it. The interpreter writes to the pipe at once.
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _ignore_signal)
        threading.Thread(
            target=self._obey_signals, args=(reading,), name="signals", daemon=True
        ).start()

    def _obey_signals(self, descriptor: int) -> None:
        while number := os.read(descriptor, 1):
            if number[0] not in SIGNALS:
                continue
            if self._stop.is_set():
                os._exit(1)
            self._stop.set()


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; the interpreter writes a signal to the pipe only if it has a handler."""
