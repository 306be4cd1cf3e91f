"""Port of the retrieve jobs and their batches, with the values that cross it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from draw_api.models.paging import Page
from draw_api.models.retrieves import (
    Retrieve,
    RetrievedInstance,
    RetrieveOptions,
    RetrieveWithAttempts,
)


@dataclass(frozen=True, slots=True)
class NewRetrieveRow:
    """One new retrieve job."""

    subject: str
    parameters: Mapping[str, Any]
    retry_of: UUID | None = None


class RetrieveRepository(Protocol):
    """The rows of retrieve jobs and their batches."""

    def node_is_active(self, node_id: int) -> bool | None:
        """Return whether the node may be used; None when there is no such node."""

    def on_the_way(self, subjects: Collection[str]) -> Mapping[str, UUID]:
        """Return the unfinished jobs of these subjects; none can be added until the commit."""

    def pull_forward(
        self, job_ids: Collection[UUID], options: RetrieveOptions, windows: Sequence[Any]
    ) -> Sequence[UUID]:
        """Give jobs the earlier start and higher priority asked now; return those that changed.

        A job with weekly windows may then also begin in these `windows`, or at any time if there
        are none. Running jobs stay as they are.
        """

    def add(
        self,
        rows: Sequence[NewRetrieveRow],
        options: RetrieveOptions,
        created_by: str,
        *,
        batch: Mapping[str, Any] | None,
    ) -> tuple[UUID, Sequence[UUID]]:
        """Add jobs, below a batch if one is described; return the first id, and those to wake.

        A job that retries another takes over its expected instances and which of them have arrived.
        Instances deleted since then must arrive again.
        """

    def retrieves(
        self,
        *,
        state: str | None,
        node_id: int | None,
        parent_id: UUID | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Retrieve]:
        """Return a page of jobs, last created first; without a parent only those that have none."""

    def retrieve(self, job_id: UUID) -> RetrieveWithAttempts | None:
        """Return one job with its attempts."""

    def instances(
        self, job_id: UUID, *, missing: bool, cursor: str | None, limit: int
    ) -> Page[RetrievedInstance]:
        """Return a page of the instances that the job, or the batch, expects."""

    def parameters(self, job_id: UUID) -> Mapping[str, Any]:
        """Return the parameters in the job's row."""

    def set_retried(self, job_ids: Sequence[UUID], by: UUID) -> None:
        """Keep which job retrieves what these lack."""

    def unsuccessful(self, job_id: UUID) -> Sequence[UUID]:
        """Return the children that have ended and are not complete."""

    def cancel(self, job_id: UUID) -> str | None:
        """Cancel the job and its children; return its previous state."""

    def prioritise(self, job_id: UUID, priority: int) -> None:
        """Set the priority of a job and of its unfinished children."""
