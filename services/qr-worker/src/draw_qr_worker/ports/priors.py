"""Port of having earlier studies retrieved: what is here, and the batches of retrieves."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from draw_qr_worker.models import Lease, NewPriorBatch, RoutedStudy


class PriorRepository(Protocol):
    """The index and the jobs, as far as earlier studies need them."""

    def study(self, study_instance_uid: str) -> RoutedStudy | None:
        """Return a study; None if nothing of it is here."""

    def is_requested(self, batch_id: UUID) -> bool:
        """Return whether a batch was made."""

    def instance_counts(self, study_instance_uids: Sequence[str]) -> Mapping[str, int]:
        """Return how many instances of each study are here, of those of which some are."""

    def request(self, lease: Lease, batch: NewPriorBatch) -> int:
        """Make the batch of those retrieves that nobody else has under way.

        Return how many others have under way. Without any left, no batch is made.

        Raises:
            LostLease | Cancelled: the job must not go on.
        """
