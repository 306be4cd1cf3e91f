"""What a retrieve needs: the rows of what is expected, and nodes that send."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from draw_qr_worker.models import (
    Arrivals,
    Fetched,
    Item,
    Keys,
    Lease,
    Node,
    RetrieveEnd,
    SubOperationCounts,
    Supervision,
    Unlisted,
)


class ItemTable(Protocol):
    """The rows of what jobs expect."""

    def items(self, job_id: UUID) -> Sequence[Item]:
        """Return what the job expects."""

    def record(
        self,
        lease: Lease,
        items: Sequence[Item],
        *,
        arrives_here: bool,
        here_counts: bool,
        none_of: Collection[str] = (),
    ) -> Sequence[Item]:
        """Keep what is expected and return it; what is here counts as arrived, or not.

        Nothing stays expected of the studies `none_of`.
        """

    def look(self, job_id: UUID, *, here_counts: bool) -> Arrivals:
        """Return the numbers; what is here by now counts as arrived, or not."""

    def mark(self, lease: Lease, *, all_but: Collection[str]) -> None:
        """Mark everything but these SOP instances as arrived."""

    def unlisted(self, job_id: UUID, studies: Sequence[str], series: str) -> Mapping[str, Unlisted]:
        """Return by study what the index has of it, or of one series, beside the job's items."""


class MovePeers(Protocol):
    """Has nodes send."""

    def move(
        self,
        node: Node,
        level: str,
        keys: Keys,
        *,
        destination: str,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        alive: Callable[[], bool],
    ) -> RetrieveEnd:
        """Have the node send to `destination`; `alive` says whether objects keep arriving."""


class GetPeers(Protocol):
    """Fetches over our own association."""

    def get(
        self,
        node: Node,
        level: str,
        keys: Keys,
        *,
        sop_classes: Collection[str],
        further_classes: bool,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        stored: Callable[[Fetched], None],
    ) -> RetrieveEnd:
        """Fetch into our storage; `stored` is told of each object."""
