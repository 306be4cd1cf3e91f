"""Ports of a job's life: the queue of jobs, and the health of nodes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from draw_qr_worker.models import ClaimedJob, JobOutcome, Lease


class JobQueue(Protocol):
    """The jobs' rows; each call is one transaction."""

    def claim(self, job_id: UUID | None) -> ClaimedJob | None:
        """Take one job that may run now, the given one or the most urgent; None: there is none."""

    def renew(self, lease: Lease) -> bool:
        """Prolong the lease and return whether the job shall be cancelled; or LostLease."""

    def report(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Write progress; or LostLease."""

    def finish(self, lease: Lease, outcome: JobOutcome) -> None:
        """Write the final state, and that of the batch when this was its last; or LostLease."""

    def retry(self, lease: Lease, *, delay_seconds: float, error: str) -> None:
        """Put the job into `waiting` until the delay is over; or LostLease."""

    def release(self, lease: Lease) -> None:
        """Put the job back into the queue for any worker; or LostLease."""

    def postpone(self, lease: Lease, *, until: datetime, reason: str) -> None:
        """Put the job into `waiting` until then, which is no failed try; or LostLease."""

    def congested(self, job: ClaimedJob, reason: str) -> None:
        """Put the job back into the queue and have its node asked for less; or LostLease."""


class NodeHealth(Protocol):
    """The nodes' circuits, shared by all replicas."""

    def succeeded(self, node_id: int) -> None:
        """Close the circuit and wake the jobs that waited for it; the node rests no longer."""

    def failed(self, node_id: int, reason: str) -> None:
        """Count a failure; the fifth in a row opens the circuit."""

    def is_shared(self, node_id: int) -> bool:
        """Return whether several of our jobs run against the node now."""
