"""Ports of queries: C-FIND associations, what they teach about a node, and the answers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import UUID

from draw_qr_worker.models import (
    FindEnd,
    Keys,
    Lease,
    LineAnswer,
    ListLine,
    ListTally,
    Match,
    RemoteNode,
)
from draw_qr_worker.ports.supervision import Supervision


class Finder(Protocol):
    """Sends C-FIND requests over one association."""

    @property
    def models(self) -> frozenset[str]:
        """The query models that the node accepts."""

    def find(
        self,
        level: str,
        keys: Keys,
        take: Callable[[Match], None],
        *,
        model: str = "",
        enough: Callable[[], bool] = lambda: False,
    ) -> FindEnd:
        """Pass each match to `take` until `enough`, and return how the query ended.

        Raises:
            StatusPermanent | StatusTransient: the node refused the query.
        """


class NodeMemory(Protocol):
    """Stores what queries learn about a node."""

    def remember(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Merge new findings into the stored ones; None deletes one."""


class QueryPeers(Protocol):
    """Opens associations for queries."""

    def finder(self, node: RemoteNode, supervision: Supervision) -> AbstractContextManager[Finder]:
        """Yield a finder that can send any number of queries.

        It also proposes Study Root, whose answers show what a request in another model needs.
        """


class ListAnswerRepository(Protocol):
    """The lines of lists, and the nodes' answers to them."""

    def unanswered(self, list_id: UUID, node_id: int) -> Sequence[ListLine]:
        """Return the lines that the node has not answered, in the order of the list."""

    def tally(self, list_id: UUID, node_id: int) -> ListTally:
        """Return how many lines the node has answered."""

    def add(self, lease: Lease, node_id: int, line_id: int, answer: LineAnswer) -> None:
        """Store an answer unless the line already has one; or raise LostLease."""


class ResultRepository(Protocol):
    """The rows of query results."""

    def add(self, lease: Lease, query_id: UUID, node_id: int, matches: Mapping[str, Match]) -> None:
        """Store matches whose unique keys are not stored yet; or raise LostLease."""
