"""Ports of a job's life: the job queue, and the health of nodes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from draw_qr_worker.models import ClaimedJob, JobOutcome, Lease


class JobQueue(Protocol):
    """The rows of jobs; each call is one transaction."""

    def claim(self, job_id: UUID | None) -> ClaimedJob | None:
        """Claim the given job, or the most urgent one; return None if no job may run now."""

    def renew(self, lease: Lease) -> bool:
        """Extend the lease and return whether the job must be cancelled; or raise LostLease."""

    def report(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Write progress; or raise LostLease."""

    def finish(self, lease: Lease, outcome: JobOutcome) -> None:
        """Write the final state, and the batch's if this was its last job; or raise LostLease."""

    def retry(
        self, lease: Lease, *, delay_seconds: float, error: str, outcome: str = "retry"
    ) -> None:
        """Put the job into `waiting` until the delay is over; or raise LostLease.

        `outcome` is kept with the try: `retry`, or `refused` where only objects were at fault.
        """

    def release(self, lease: Lease) -> None:
        """Put the job back into the queue for any worker; or raise LostLease."""

    def postpone(self, lease: Lease, *, until: datetime, reason: str) -> None:
        """Put the job into `waiting` until then, without a failed try; or raise LostLease."""

    def requeue_congested(self, job: ClaimedJob, reason: str) -> None:
        """Put the job back into the queue and lower its node's limit; or raise LostLease."""


class NodeHealth(Protocol):
    """The circuits of nodes, shared by all replicas."""

    def record_success(self, node_id: int) -> None:
        """Close the circuit, wake the jobs that waited for it, and end the node's rest."""

    def record_failure(self, node_id: int, reason: str) -> None:
        """Count a failure; the fifth in a row opens the circuit."""

    def is_shared(self, node_id: int) -> bool:
        """Return whether several of our jobs use the node now."""
