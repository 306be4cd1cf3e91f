"""Ports of queries: associations for C-FIND, what they teach about a node, and the answers."""

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
        """The query models in which the node answers."""

    def find(
        self,
        level: str,
        keys: Keys,
        take: Callable[[Match], None],
        *,
        model: str = "",
        enough: Callable[[], bool] = lambda: False,
    ) -> FindEnd:
        """Hand each match to `take` until `enough`, and say how the query ended.

        Raises:
            StatusPermanent | StatusTransient: the node refused the query.
        """


class NodeMemory(Protocol):
    """Where what queries find out about a node is kept."""

    def learned(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Keep what is known now beside what was known before; None forgets it."""


class QueryPeers(Protocol):
    """Opens associations for queries."""

    def finder(self, node: RemoteNode, supervision: Supervision) -> AbstractContextManager[Finder]:
        """Yield a finder for as many queries as are wanted.

        Study Root is proposed as well: it finds out what a request in other models needs.
        """


class ListAnswerRepository(Protocol):
    """The lines of lists, and what nodes said to them."""

    def unanswered(self, list_id: UUID, node_id: int) -> Sequence[ListLine]:
        """Return the lines that the node has not answered, in the order of the list."""

    def tally(self, list_id: UUID, node_id: int) -> ListTally:
        """Return how many lines the node has answered."""

    def add(self, lease: Lease, node_id: int, line_id: int, answer: LineAnswer) -> None:
        """Keep an answer, one that is there already as it is; or LostLease."""


class ResultRepository(Protocol):
    """The rows of what queries found."""

    def add(self, lease: Lease, query_id: UUID, node_id: int, matches: Mapping[str, Match]) -> None:
        """Keep matches by their unique keys, one that is there already as it is; or LostLease."""
