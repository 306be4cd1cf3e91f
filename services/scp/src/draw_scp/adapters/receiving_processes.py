"""Additional receiving processes, because one interpreter runs one thread at a time.

The receiver itself accepts, limits, admits and counts every connection. An association that only
stores is handed, socket included, to the process that serves the fewest; the association's thread
here waits until it ends. Processes start on demand: the first when two associations are open at
once. When a process dies, its associations are lost and the next demand replaces it; the objects
it made durable are in the spool folder, and the receiver announces them from there.

Concurrency: any association's thread calls `serve`; one thread starts processes and sends them
their configuration; one thread per process reads its reports.
"""

import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.reduction import send_handle
from typing import Final, NoReturn

import structlog

from draw_scp.adapters import child_process
from draw_scp.adapters.announcer import Announcer
from draw_scp.pipe_messages import (
    AssociationEnded,
    AssociationHandover,
    ObjectStored,
    ReceivingConfig,
    ReceivingReady,
    Report,
)
from draw_scp.ports.operations import OperationResults
from draw_scp.settings import ReceivingSettings
from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.message import Operation
from draw_shared.dicom.network.negotiation import belongs
from draw_shared.dicom.network.placement import AssociationEnd
from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome
from draw_shared.dicom.network.wire import Wire
from draw_shared.runtime.periodic import Periodic
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.space import Space
from draw_shared.wording import message

log = structlog.get_logger()

MODULE: Final = "draw_scp.receiving"
INTERVAL_SECONDS: Final = 1.0
RESTART_INTERVAL_SECONDS: Final = 5.0
"""Least time between the starts of two processes."""
SILENCE_TIMEOUT_SECONDS: Final = 60.0
"""A process that reports nothing for this time hangs, and is killed."""
EXIT_TIMEOUT_SECONDS: Final = 1.0
"""How long a process may take to exit after it closed its connection."""
GONE: Final = AssociationEnd(AssociationOutcome.LOST, message("the receiving process ended"))


@dataclass(slots=True, eq=False)
class _RemoteAssociation:
    """An association that another process serves."""

    info: AssociationInfo
    ended: threading.Event = field(default_factory=threading.Event)
    ending: AssociationEnd = GONE


class _ReceivingProcess:
    """One receiving process and the associations it serves."""

    def __init__(self, lock_descriptor: int, receiving_config: ReceivingConfig) -> None:
        self.serves: dict[str, _RemoteAssociation] = {}
        self.writer = ""
        """Empty until the process is ready to take associations."""
        self._talking = threading.Lock()
        # The child inherits the lock on the spool folder and keeps it for as long as it lives.
        self._process, self.connection = child_process.start(
            MODULE, ReceivingSettings, lock_descriptor
        )
        self.tell(receiving_config)

    def tell(self, message: ReceivingConfig | None) -> None:
        """Send a new configuration, or None to end it; a process that is gone is ignored."""
        with self._talking, suppress(OSError):
            self.connection.send(message)

    def hand_over(self, handed: AssociationHandover, descriptor: int) -> bool:
        """Hand it an association, and return whether it took it."""
        with self._talking:
            try:
                self.connection.send(handed)
                send_handle(self.connection, descriptor, None)
            except OSError:
                # Half a message cannot be taken back.
                self._process.kill()
                return False
        return True

    def end(self, seconds: float) -> int:
        """Wait for its end, kill it after `seconds`, and return its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.kill()
        return self._process.wait()


class ReceivingProcesses:
    """Places each association in this process or in another one.

    Args:
        most: largest number of receiving processes, including this one.
        receiving_config: returns the configuration in force.
    """

    name = "receiving"

    def __init__(
        self,
        most: int,
        receiving_config: Callable[[], ReceivingConfig],
        results: OperationResults,
        outbox: Announcer,
        spool: ObjectStore,
        room: Space,
    ) -> None:
        self._most = most
        self._receiving_config = receiving_config
        self._results = results
        self._outbox = outbox
        self._spool = spool
        self._room = room
        self._lock = threading.Lock()
        self._here = 0
        self._processes: list[_ReceivingProcess] = []
        self._listening: list[threading.Thread] = []
        self._wanted = False
        self._next_start = 0.0
        self._sent_config: ReceivingConfig | None = None
        self._stopping = threading.Event()
        self._periodic = Periodic(self.name, self._supervise, interval_seconds=INTERVAL_SECONDS)

    @property
    def processes(self) -> int:
        """Number of processes that receive now, including this one."""
        return 1 + sum(bool(process.writer) for process in self._processes)

    def start(self) -> None:
        """Start the supervising thread; processes start on demand."""
        self._periodic.start()

    def tell(self) -> None:
        """Send the changed configuration to all processes now."""
        self._periodic.wake()

    def stop(self, deadline_seconds: float) -> None:
        """End all processes; their associations have ended before."""
        self._stopping.set()
        self._periodic.stop(deadline_seconds)
        deadline = time.monotonic() + deadline_seconds
        running = list(self._processes)
        for process in running:
            process.tell(None)
        for process in running:
            process.end(max(0.1, deadline - time.monotonic()))
        for thread in self._listening:
            thread.join(max(0.1, deadline - time.monotonic()))

    def serve(
        self,
        info: AssociationInfo,
        wire: Wire,
        limits: AssociationLimits,
        here: Callable[[], NoReturn],
    ) -> AssociationEnd:
        movable = not wire.encrypted and not wire.holds and _only_stores(info)
        place = self._reserve(info) if movable and self._names_are_stable() else None
        ending = self._serve_elsewhere(*place, wire, limits) if place is not None else None
        if ending is None:
            with self._count_here():
                here()
        return ending

    def _serve_elsewhere(
        self,
        process: _ReceivingProcess,
        elsewhere: _RemoteAssociation,
        wire: Wire,
        limits: AssociationLimits,
    ) -> AssociationEnd | None:
        """Return how the association ended there, or None if the process did not take it."""
        if not process.hand_over(AssociationHandover(elsewhere.info, limits), wire.descriptor):
            with self._lock:
                process.serves.pop(elsewhere.info.association_id, None)
            return None
        elsewhere.ended.wait()
        return elsewhere.ending

    def _names_are_stable(self) -> bool:
        """Return whether an object gets the same file name in every process and at any time."""
        layout: Layout = self._receiving_config().rules.layout
        return layout.structure is not StorageStructure.DATE and layout.naming in {
            FileNaming.SOP_UID,
            FileNaming.INSTANCE_NUMBER,
        }

    def _reserve(
        self, info: AssociationInfo
    ) -> tuple[_ReceivingProcess, _RemoteAssociation] | None:
        """Return the process for this association, or None to serve it here."""
        with self._lock:
            ready = [process for process in self._processes if process.writer]
            least = min(ready, key=lambda process: len(process.serves), default=None)
            if least is not None and len(least.serves) <= self._here:
                elsewhere = least.serves[info.association_id] = _RemoteAssociation(info)
                return least, elsewhere
            if self._here and len(self._processes) < self._most - 1:
                self._wanted = True
                self._periodic.wake()
            return None

    @contextmanager
    def _count_here(self) -> Iterator[None]:
        with self._lock:
            self._here += 1
        try:
            yield
        finally:
            with self._lock:
                self._here -= 1

    def _supervise(self) -> None:
        receiving_config = self._receiving_config()
        if receiving_config != self._sent_config:
            self._sent_config = receiving_config
            for process in list(self._processes):
                process.tell(receiving_config)
        if self._wanted and time.monotonic() >= self._next_start and not self._stopping.is_set():
            self._wanted = False
            self._next_start = time.monotonic() + RESTART_INTERVAL_SECONDS
            self._begin(receiving_config)

    def _begin(self, receiving_config: ReceivingConfig) -> None:
        process = _ReceivingProcess(self._spool.lock_descriptor, receiving_config)
        with self._lock:
            self._processes.append(process)
        thread = threading.Thread(
            target=self._listen, args=(process,), name="receiving-reports", daemon=True
        )
        thread.start()
        self._listening = [*(one for one in self._listening if one.is_alive()), thread]

    def _listen(self, process: _ReceivingProcess) -> None:
        """Read the reports of a process until it ends."""
        try:
            while process.connection.poll(SILENCE_TIMEOUT_SECONDS):
                # Our own bytes, over a socket that only the child has.
                for report in pickle.loads(process.connection.recv_bytes()):  # noqa: S301
                    self._take(process, report)
            log.error("receiving.silent")
        except (EOFError, OSError):
            pass
        finally:
            self._clean_up(process)

    def _clean_up(self, process: _ReceivingProcess) -> None:
        code = process.end(EXIT_TIMEOUT_SECONDS)
        with self._lock:
            self._processes.remove(process)
            left = list(process.serves.values())
            process.serves.clear()
        process.connection.close()
        if not self._stopping.is_set():
            log.warning("receiving.ended", exit_code=code, associations=len(left))
        if process.writer:
            self._spool.forget_parts(process.writer)
        self._outbox.look()
        for elsewhere in left:
            elsewhere.ended.set()

    def _take(self, process: _ReceivingProcess, report: Report) -> None:
        if isinstance(report, ObjectStored):
            self._outbox.announce(report.stored)
            if not report.stored.duplicate:
                self._room.added(report.stored.size_bytes)
        elif isinstance(report, ReceivingReady):
            process.writer = report.writer
        elif isinstance(report, AssociationEnded):
            with self._lock:
                elsewhere = process.serves.pop(report.association_id)
            elsewhere.ending = report.ending
            elsewhere.ended.set()
        else:
            info = process.serves[report.association_id].info
            self._results.note(info, report.result)


def _only_stores(info: AssociationInfo) -> bool:
    """Return whether only storage, and perhaps verification, was negotiated."""
    classes = {context.abstract_syntax for context in info.contexts.values()}
    asking = (Operation.C_FIND, Operation.C_MOVE, Operation.C_GET)
    return bool(classes - {uids.VERIFICATION}) and not any(
        belongs(operation, one) for operation in asking for one in classes
    )
