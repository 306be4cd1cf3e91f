"""Ports of a retrieve: rows of expected instances, and nodes that send (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from draw_qr_worker.models import (
    ArrivalCounts,
    Fetched,
    Item,
    Keys,
    Lease,
    RemoteNode,
    RemoteRetrieveEnd,
    SubOperationCounts,
    Unlisted,
)
from draw_qr_worker.ports.supervision import Supervision


class ItemRepository(Protocol):
    """The rows of instances that jobs expect."""

    def items(self, job_id: UUID) -> Sequence[Item]:
        """Return what the job expects, study by study and series by series."""

    def record(
        self,
        lease: Lease,
        items: Sequence[Item],
        *,
        arrives_here: bool,
        here_counts: bool,
        none_of: Collection[str] = (),
    ) -> Sequence[Item]:
        """Store what is expected and return it; or raise LostLease.

        With `arrives_here`, an instance that enters the index has arrived. With `here_counts` as
        well, an instance that is already here has arrived, too. Nothing of the studies `none_of`
        remains expected.
        """

    def count_arrivals(self, job_id: UUID, *, here_counts: bool) -> ArrivalCounts:
        """Return how much has arrived; first mark what is already here, if that counts.

        Without `here_counts` only the indexer marks: it marks every instance that comes, even one
        that was here before.
        """

    def mark(self, lease: Lease, *, all_but: Collection[str]) -> None:
        """Mark everything except these SOP instances as arrived; or raise LostLease."""

    def mark_these(self, lease: Lease, these: Collection[str]) -> None:
        """Mark these SOP instances as arrived; or raise LostLease."""

    def unlisted(self, job_id: UUID, studies: Sequence[str], series: str) -> Mapping[str, Unlisted]:
        """Return by study what the index holds of it, or of one series, beyond the job's items."""


class MovePeers(Protocol):
    """Asks nodes to send by C-MOVE."""

    def move(
        self,
        node: RemoteNode,
        level: str,
        keys: Keys,
        *,
        destination: str,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        alive: Callable[[], bool],
    ) -> RemoteRetrieveEnd:
        """Ask the node to send to `destination`; `alive` tells whether objects keep arriving.

        Raises:
            StatusPermanent | StatusTransient: the node refused the whole retrieve.
        """


class GetPeers(Protocol):
    """Fetches over our own association."""

    def get(
        self,
        node: RemoteNode,
        level: str,
        keys: Keys,
        *,
        sop_classes: Collection[str],
        further_classes: bool,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        stored: Callable[[Fetched], None],
    ) -> RemoteRetrieveEnd:
        """Fetch into our storage; call `stored` for each object.

        Raises:
            StatusPermanent | StatusTransient: the node refused the whole retrieve.
        """
