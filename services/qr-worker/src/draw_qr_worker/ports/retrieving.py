"""Ports of a retrieve: the rows of what is expected, and nodes that send (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from draw_qr_worker.models import (
    Arrivals,
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
    """The rows of what jobs expect."""

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
        """Keep what is expected and return it; or LostLease.

        With `arrives_here`, what comes into the index has arrived; with `here_counts` as well,
        also what is here already. Nothing stays expected of the studies `none_of`.
        """

    def look(self, job_id: UUID, *, here_counts: bool) -> Arrivals:
        """Return how much has arrived, and before that mark what is here if that counts.

        Without `here_counts` only what the indexer marked has arrived: it marks what comes, also
        what was here before.
        """

    def mark(self, lease: Lease, *, all_but: Collection[str]) -> None:
        """Mark everything but these SOP instances as arrived; or LostLease."""

    def mark_these(self, lease: Lease, these: Collection[str]) -> None:
        """Mark these SOP instances as arrived; or LostLease."""

    def unlisted(self, job_id: UUID, studies: Sequence[str], series: str) -> Mapping[str, Unlisted]:
        """Return by study what the index has of it, or of one series, beside the job's items."""


class MovePeers(Protocol):
    """Has nodes send."""

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
        """Have the node send to `destination`; `alive` says whether objects keep arriving.

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
        """Fetch into our storage; `stored` is told of each object.

        Raises:
            StatusPermanent | StatusTransient: the node refused the whole retrieve.
        """
