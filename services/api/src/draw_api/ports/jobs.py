"""Port of the jobs that the worker executes against remote nodes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from draw_api.models.jobs import Job, JobWithAttempts, NewJob
from draw_api.models.paging import Page


class JobRepository(Protocol):
    """The rows of jobs."""

    def node_is_active(self, node_id: int) -> bool | None:
        """Return whether the node may be used; None when there is no such node."""

    def add(self, job: NewJob, created_by: str) -> UUID:
        """Add a job, scheduled if it has a start time, else queued; return its id."""

    def add_echoes(self, priority: int, created_by: str) -> Sequence[UUID]:
        """Add a C-ECHO of each node in use that has none unfinished; return their ids."""

    def jobs(
        self, state: str | None, node_id: int | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        """Return a page of jobs, last created first."""

    def needy(self, states: Sequence[str], since: datetime, most: int) -> Sequence[Job]:
        """Return the newest jobs of these states, created since then, that need somebody.

        None that was retried does, nor a test of a node that waits.
        """

    def number(self, states: Sequence[str], since: datetime, most: int) -> dict[str, int]:
        """Return how many of those there are in each state, each up to a limit."""

    def set_retried(self, job_ids: Sequence[UUID], by: UUID) -> None:
        """Keep which job does again what these have not done."""

    def job(self, job_id: UUID) -> JobWithAttempts | None:
        """Return one job with its attempts."""

    def hasten(self, job_id: UUID) -> None:
        """Let a waiting job, or those of a batch, begin at once, whatever its node did before."""

    def cancel(self, job_id: UUID) -> str | None:
        """End the job if no worker runs it, else ask its worker to; return the previous state."""
