"""Executes one claimed job, from the claim to its end.

A claim grants a lease with a fence, and every write names the fence. A worker that was suspended
and resumes finds that its writes change no row (LostLease), and drops its results. An execution
ends in exactly one way: with a final state, with a return to the queue, or with nothing because the
lease is lost.

Concurrency: each execution runs on its own thread. Another thread renews its lease, writes its
progress and asks it to stop through ExecutionControl. If the process dies, the lease expires and
the sweep of any worker queues the job again; only progress since the last renewal is lost.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import structlog
from typing_extensions import override

from draw_qr_worker.models import (
    Cancelled,
    ClaimedJob,
    Interrupted,
    InvalidJob,
    JobOutcome,
    JobState,
    Lease,
    LostLease,
    ObjectsRefused,
    Postponed,
    StoredFileAway,
)
from draw_qr_worker.ports.jobs import JobQueue, NodeHealth
from draw_qr_worker.ports.supervision import InterruptibleSupervision
from draw_qr_worker.services.retries import RetryPolicy
from draw_shared.dicom.network.peer_failures import PeerCongested, PeerTrouble, PeerTurnedAway
from draw_shared.errors import DrawError, Permanent, Transient
from draw_shared.wording import message

log = structlog.get_logger()

FINAL: Final = frozenset(
    {
        JobState.COMPLETE,
        JobState.UNPROVED,
        JobState.PARTIAL,
        JobState.FAILED,
        JobState.CANCELLED,
    }
)

OF_OBJECTS: Final = (ObjectsRefused, StoredFileAway)
"""Failures that say nothing against the peer or the place that objects go to."""


class ExecutionControl(InterruptibleSupervision):
    """Connects one execution to its worker: stop requests in, progress out.

    The thread that renews leases requests the stop. The execution's thread checks for it between
    waits, none of which is longer than a quarter of a second.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.progress: dict[str, Any] = {}
        self.reported_at = time.monotonic()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._reason: DrawError | None = None
        self._changed = False
        self._interrupt: Callable[[], None] = lambda: None

    def end(self, reason: DrawError) -> None:
        """Ask the execution to stop for `reason`; a lost lease replaces any other reason."""
        with self._lock:
            if self._reason is None or isinstance(reason, LostLease):
                self._reason = reason
            interrupt = self._interrupt
        self._stop.set()
        interrupt()

    @override
    def on_end(self, interrupt: Callable[[], None]) -> None:
        with self._lock:
            self._interrupt = interrupt
            too_late = self._reason is not None
        if too_late:
            interrupt()

    @override
    def ended(self) -> bool:
        return self._stop.is_set()

    @override
    def check(self) -> None:
        if self._reason is not None:
            raise self._reason

    @override
    def pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self.check()

    def report(self, **values: object) -> None:
        """Show `values` as progress; the next renewal of the lease writes them."""
        with self._lock:
            self.progress.update(values)
            self.reported_at = time.monotonic()
            self._changed = True

    def write_progress(self, write: Callable[[dict[str, Any]], None]) -> None:
        """Pass the progress to `write` if it changed; never an older one after a newer one."""
        with self._writing:
            progress = self.take_unwritten()
            if progress is not None:
                write(progress)

    def take_unwritten(self) -> dict[str, Any] | None:
        """Return the progress if it changed since the last call."""
        with self._lock:
            if not self._changed:
                return None
            self._changed = False
            return dict(self.progress)


class Task(Protocol):
    """Performs jobs of one kind."""

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Perform the job; raise Transient to have it tried again, Permanent to fail for good."""

    def give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return the final outcome after an error that is not retried."""


class Execution:
    """Runs a claimed job and writes its outcome."""

    def __init__(
        self,
        store: JobQueue,
        nodes: NodeHealth,
        tasks: Mapping[str, Task],
        retries: RetryPolicy,
        observe: Callable[[str, str, float], None],
        held_until: Callable[[ClaimedJob], datetime | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._tasks = tasks
        self._retries = retries
        self._observe = observe
        self._held_until = held_until

    def run(self, job: ClaimedJob, control: ExecutionControl) -> None:
        """Execute `job`; never raises, because the sweeper recovers unfinished jobs."""
        began = time.monotonic()
        bound = log.bind(job_id=str(job.lease.job_id), kind=job.kind, attempt=job.attempt)
        try:
            ended = self._conclude(job, control)
        except LostLease:
            ended = "lost"
        except Transient as error:
            bound.warning("job.result_not_written", error=str(error))
            ended = "unwritten"
        seconds = time.monotonic() - began
        self._observe(job.kind, ended, seconds)
        bound.info("job.executed", outcome=ended, seconds=round(seconds, 3))

    def _conclude(self, job: ClaimedJob, control: ExecutionControl) -> str:
        try:
            outcome = self._perform(job, control)
        except (Interrupted, Postponed, PeerCongested) as reason:
            return self._give_back(job, control, reason)
        except Cancelled:
            outcome = JobOutcome(JobState.CANCELLED)
        except (Transient, Permanent) as error:
            delay = self._retries.delay_seconds(error, job.retries_used, _left_seconds(job))
            if delay is not None:
                self._flush(control)
                kept = "refused" if isinstance(error, OF_OBJECTS) else "retry"
                self._store.retry(job.lease, delay_seconds=delay, error=str(error), outcome=kept)
                return "retry"
            outcome = self._give_up(job, error)
        except LostLease:
            raise
        except Exception:
            # An unforeseen error: nothing suggests that another try would help.
            log.exception("job.crashed", job_id=str(job.lease.job_id), kind=job.kind)
            outcome = JobOutcome(
                JobState.FAILED, error=message("internal failure, see the worker's log")
            )
        self._flush(control)
        self._store.finish(job.lease, outcome)
        return str(outcome.state)

    def _give_back(
        self,
        job: ClaimedJob,
        control: ExecutionControl,
        reason: Interrupted | Postponed | PeerCongested,
    ) -> str:
        """Let the job continue later; this is neither its end nor a failed try."""
        self._flush(control)
        match reason:
            case Postponed():
                self._store.postpone(job.lease, until=reason.until, reason=str(reason))
                return "postponed"
            case PeerCongested():
                self._store.requeue_congested(job, str(reason))
                return "congested"
            case Interrupted():
                self._store.release(job.lease)
                return "released"

    def _perform(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        task = self._tasks.get(job.kind)
        if task is None:
            raise InvalidJob(message("no worker knows jobs of kind %(kind)s", kind=repr(job.kind)))
        held_until = self._held_until(job)
        if held_until is not None:
            raise Postponed(held_until)
        try:
            outcome = task.run(job, control)
        except PeerTrouble as error:
            # If we cut the connection ourselves, the error says nothing about the node.
            control.check()
            if job.node is None:
                raise
            if isinstance(error, PeerTurnedAway) and self._nodes.is_shared(job.node.id):
                # The node serves other jobs of ours: this association was one too many.
                raise PeerCongested(
                    message("%(error)s, while it serves other jobs", error=error)
                ) from error
            self._nodes.record_failure(job.node.id, str(error))
            raise
        except ObjectsRefused:
            control.check()
            self._note_answer(job)
            raise
        except (Transient, Permanent):
            control.check()
            raise
        self._note_answer(job)
        return outcome

    def _note_answer(self, job: ClaimedJob) -> None:
        if job.node is not None:
            self._nodes.record_success(job.node.id)

    def _give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        task = self._tasks.get(job.kind)
        if task is None:
            return JobOutcome(JobState.FAILED, error=str(error))
        return task.give_up(job, error)

    def _flush(self, control: ExecutionControl) -> None:
        control.write_progress(lambda progress: self._store.report(control.lease, progress))


def _left_seconds(job: ClaimedJob) -> float | None:
    until = job.gives_up_at
    return None if until is None else (until - job.now).total_seconds()
