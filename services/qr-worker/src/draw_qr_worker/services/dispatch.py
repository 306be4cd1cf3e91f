"""Claims jobs for this process and keeps their leases.

Concurrency: each running job has its own thread. One more thread runs the timer: it renews every
lease, carries out cancel requests, and claims jobs while slots are free. A wake-up from the broker
only makes that happen sooner. A delivery whose node is silent takes no slot: nodes that accept and
never answer must not keep the others waiting. A job whose lease cannot be renewed is stopped here
before another worker can claim it: the deadline counts from the start of the last successful
renewal, on this machine's clock.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog

from draw_qr_worker.models import Cancelled, ClaimedJob, Interrupted, JobKind, LostLease
from draw_qr_worker.ports.jobs import JobQueue
from draw_qr_worker.services.jobs import Execution, ExecutionControl
from draw_shared.errors import DrawError, Transient
from draw_shared.wording import message

log = structlog.get_logger()

SILENT_SECONDS: Final = 2.0
"""A delivery that has made no progress for so long waits for its node, and needs no slot."""
MAX_JOBS_PER_SLOT: Final = 4
"""How many jobs run for each slot at most, however silent their nodes are."""


@dataclass(slots=True)
class _RunningJob:
    job: ClaimedJob
    control: ExecutionControl
    thread: threading.Thread | None = None
    renewed_at: float = field(default_factory=time.monotonic)

    def takes_slot(self) -> bool:
        """Return whether the job does something, and not only waits for its node."""
        waits = self.job.kind == JobKind.DELIVER and self.job.node is not None
        return not waits or time.monotonic() - self.control.reported_at < SILENT_SECONDS


class JobDispatcher:
    """The job slots of one worker process."""

    name = "dispatch"

    def __init__(
        self, store: JobQueue, execution: Execution, *, slots: int, lease_seconds: float
    ) -> None:
        self._store = store
        self._execution = execution
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._claiming = threading.Lock()
        self._running: dict[UUID, _RunningJob] = {}
        self._open = False
        self._stopping = False
        self._idle: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Do nothing yet: claims begin with `allow`, when the database is known to be usable."""

    def allow(self) -> None:
        """Allow claims, unless the worker is already stopping."""
        self._open = not self._stopping

    def close(self) -> None:
        """Claim nothing more until `allow`; running jobs finish."""
        self._open = False

    def stop(self, deadline_seconds: float) -> None:
        """Claim nothing more; let jobs finish until near the deadline, then release the others."""
        self._stopping = True
        self._open = False
        deadline = time.monotonic() + deadline_seconds
        self._join(time.monotonic() + deadline_seconds / 2)
        self.end_all(Interrupted(message("the worker is stopping")))
        self._join(deadline)

    def on_free_slot(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a job has ended."""
        self._idle = listener

    @property
    def running(self) -> int:
        """The number of jobs that run in this process."""
        return len(self._running)

    def take(self, job_id: UUID | None = None) -> bool:
        """Claim the given job or the most urgent one and start it; False without a job or slot.

        Raises:
            Transient: the database does not answer.
        """
        with self._claiming:
            if not self._open or not self._has_slot():
                return False
            asked_at = time.monotonic()
            job = self._store.claim(job_id)
            if job is None:
                return False
            entry = _RunningJob(job, ExecutionControl(job.lease), renewed_at=asked_at)
            entry.thread = threading.Thread(
                target=self._run, args=(entry,), name=f"job-{job.lease.job_id}", daemon=True
            )
            with self._lock:
                self._running[job.lease.job_id] = entry
        entry.thread.start()
        return True

    def renew(self) -> None:
        """Renew every lease and write progress; stop the jobs whose lease is lost."""
        with self._lock:
            entries = list(self._running.values())
        for entry in entries:
            self._renew(entry)

    def end_all(self, reason: DrawError) -> None:
        """Stop every running job."""
        with self._lock:
            entries = list(self._running.values())
        for entry in entries:
            entry.control.end(reason)

    def _has_slot(self) -> bool:
        with self._lock:
            taken = sum(entry.takes_slot() for entry in self._running.values())
        return taken < self._slots and self.running < self._slots * MAX_JOBS_PER_SLOT

    def _renew(self, entry: _RunningJob) -> None:
        asked_at = time.monotonic()
        control = entry.control
        try:
            if self._store.renew(control.lease):
                control.end(Cancelled(message("cancelled by an operator")))
            control.write_progress(lambda progress: self._store.report(control.lease, progress))
        except LostLease as error:
            self._lose(entry, error)
        except Transient as error:
            if asked_at - entry.renewed_at > self._lease_seconds * 0.8:
                self._lose(
                    entry,
                    LostLease(message("the lease could not be renewed: %(error)s", error=error)),
                )
        else:
            entry.renewed_at = asked_at

    def _lose(self, entry: _RunningJob, reason: LostLease) -> None:
        if entry.job.lease.job_id in self._running and not entry.control.ended():
            log.warning("job.lease_lost", job_id=str(entry.job.lease.job_id))
        entry.control.end(reason)

    def _run(self, entry: _RunningJob) -> None:
        try:
            self._execution.run(entry.job, entry.control)
        finally:
            with self._lock:
                # A later claim of the same job may already occupy this entry.
                if self._running.get(entry.job.lease.job_id) is entry:
                    del self._running[entry.job.lease.job_id]
            self._idle()

    def _join(self, deadline: float) -> None:
        with self._lock:
            entries = list(self._running.values())
        for entry in entries:
            if entry.thread is not None:
                entry.thread.join(max(0.0, deadline - time.monotonic()))
