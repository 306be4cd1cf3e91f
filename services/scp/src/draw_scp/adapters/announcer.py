"""The receiver's end of the announcing process, which is restarted whenever it ends.

Publishing in the receiver itself would compete with receiving for the interpreter lock, so
`draw_scp.announcing` does it in a child process. The receiver sends stored objects and audit
lines over a pipe in batches. A child that dies loses no object, because the next one scans the
spool folder, and no audit line, because the next one gets every batch again that was not reported
as written. If the receiver itself dies, the audit lines that it still held are lost.

Concurrency: any thread adds objects and lines; one thread calls `flush`; one thread reads the
child's status and restarts the child.
"""

import pickle
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import structlog
from typing_extensions import override

from draw_scp.adapters import child_process
from draw_scp.adapters.journal import Journal
from draw_scp.models import LostLines, TransactionLine
from draw_scp.pipe_messages import (
    WITH_OBJECTS,
    WITHOUT_OBJECTS,
    AnnouncerBatch,
    AnnouncerConfig,
    AnnouncerStatus,
    Batch,
)
from draw_scp.ports.audit import TransactionRecorder
from draw_scp.settings import AnnouncingSettings
from draw_shared.storage.objects import Stored

log = structlog.get_logger()

MODULE: Final = "draw_scp.announcing"
SILENCE_TIMEOUT_SECONDS: Final = 60.0
"""An announcer that reports nothing for this time hangs, and is replaced."""
RESTART_INTERVAL_SECONDS: Final = 1.0
MAX_HELD_OBJECTS: Final = 10_000
"""Objects held while the announcer is away; it finds the others in the spool folder."""
MAX_HELD_LINES: Final = 50_000


class Announcer(TransactionRecorder):
    """Sends durable objects and the audit trail to the announcing process."""

    name = "announcer"

    def __init__(
        self,
        announcer_config: Callable[[], AnnouncerConfig],
        announced: Callable[[int], None],
        lost: Callable[[int], None],
        folder: Path,
    ) -> None:
        self._folder = folder
        self._announcer_config = announcer_config
        self._announced = announced
        self._count_lost = lost
        self._stored: deque[Stored] = deque()
        self._transactions: deque[TransactionLine] = deque()
        self._handed: deque[Batch] = deque()
        """Sent, but not yet reported as written."""
        self._handed_lines = 0
        self._again = False
        self._losing = threading.Lock()
        self._lost: LostLines | None = None
        self._overlooked = False
        self._last = AnnouncerStatus(connected=False)
        self._stopping = threading.Event()
        self._handing_over = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._listen, name=self.name, daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the announcing process is connected to the broker."""
        return self._last.connected

    @property
    def reserve_bytes(self) -> int:
        """Disk space that is reserved for the audit trail."""
        return self._last.reserve_bytes

    def announce(self, stored: Stored) -> None:
        """Queue a durable object for announcement; never waits."""
        if len(self._stored) >= MAX_HELD_OBJECTS:
            self._overlooked = True
        else:
            self._stored.append(stored)

    def look(self) -> None:
        """Have the spool folder scanned, and everything in it announced, again if need be."""
        self._overlooked = True

    @override
    def record(self, transaction: TransactionLine) -> None:
        if len(self._transactions) + self._handed_lines < MAX_HELD_LINES:
            self._transactions.append(transaction)
            return
        with self._losing:
            at = transaction.occurred_at
            self._lost = LostLines(1, at, at).merge(self._lost)

    def flush(self) -> None:
        """Send everything that was added since the last flush."""
        if self._stored or self._transactions or self._overlooked or self._again:
            self._hand_over(None)

    def start(self) -> None:
        """Start the process; batches may be sent before it is ready.

        The disk space for the audit trail is reserved before anything can be received.
        """
        Journal(self._folder).take_reserve()
        self._begin()
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Let it announce and record the rest within the deadline, then end it."""
        deadline = time.monotonic() + deadline_seconds
        self._stopping.set()
        self._hand_over(max(0.1, deadline_seconds - 1.0))
        process = self._process
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            process.kill()
        self._thread.join(1.0)

    def _begin(self) -> None:
        self._process, ours = child_process.start(MODULE, AnnouncingSettings)
        with self._handing_over:
            self._connection = ours

    def _hand_over(self, finish_seconds: float | None) -> None:
        with self._handing_over:
            if self._connection is None:
                return
            stored = [self._stored.popleft() for _ in range(len(self._stored))]
            transactions = [self._transactions.popleft() for _ in range(len(self._transactions))]
            batches = list(self._handed) if self._again else []
            if transactions:
                batches.append(Batch(uuid4(), transactions))
                self._handed.append(batches[-1])
                self._handed_lines += len(transactions)
            with self._losing:
                lost, self._lost = self._lost, None
            overlooked, self._overlooked = self._overlooked, False
            arrivals = AnnouncerBatch(
                self._announcer_config(), stored, batches, lost, overlooked, finish_seconds
            )
            try:
                kind = WITH_OBJECTS if stored else WITHOUT_OBJECTS
                self._connection.send_bytes(kind + pickle.dumps(arrivals))
            except OSError:
                # The next announcer finds the objects in the spool folder.
                with self._losing:
                    self._lost = lost.merge(self._lost) if lost else self._lost
            else:
                self._again = False

    def _take_note(self, recorded: UUID | None) -> None:
        """Forget batches up to and including the one that was written."""
        with self._handing_over:
            while any(batch.id == recorded for batch in self._handed):
                self._handed_lines -= len(self._handed.popleft().transactions)

    def _listen(self) -> None:
        """Read the status of the process until it ends, restart it, and repeat."""
        while (process := self._process) is not None and self._connection is not None:
            try:
                while self._connection.poll(SILENCE_TIMEOUT_SECONDS):
                    self._last = self._connection.recv()
                    self._announced(self._last.objects)
                    self._count_lost(self._last.lines_lost)
                    self._take_note(self._last.recorded)
                log.error("announcer.silent")
            except (EOFError, OSError):
                pass
            self._last = AnnouncerStatus(connected=False)
            with self._handing_over:
                self._connection.close()
                self._connection = None
                self._again = bool(self._handed)
            process.kill()
            code = process.wait()
            if self._stopping.is_set():
                if self._handed_lines:
                    log.warning("transaction.not_recorded", records=self._handed_lines)
                return
            log.warning("announcer.ended", exit_code=code)
            if self._stopping.wait(RESTART_INTERVAL_SECONDS):
                return
            self._begin()
