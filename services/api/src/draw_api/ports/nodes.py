"""Port of the remote nodes that operators have configured."""

from collections.abc import Sequence
from typing import Protocol

from draw_api.models.nodes import Node, NodeSettings
from draw_api.models.paging import Page


class NodeRepository(Protocol):
    """The rows of nodes."""

    def nodes(self, cursor: str | None, limit: int) -> Page[Node]:
        """Return a page of nodes, in the order in which they were added."""

    def node(self, node_id: int) -> Node | None:
        """Return one node."""

    def with_title(self, ae_title: str, limit: int) -> Sequence[Node]:
        """Return the nodes with this AE title, in the order in which they were added."""

    def add(self, node: NodeSettings) -> int | None:
        """Add a node and return its id, or None when its name is taken."""

    def hold(self, node_id: int) -> str | None:
        """Return the name of a node, which stays until the commit; None: there is no such node."""

    def replace(self, node_id: int, node: NodeSettings) -> bool:
        """Replace all settings of a node that is held; False when another node has the name."""

    def pause(self, node_id: int, *, paused: bool) -> str | None:
        """Set whether jobs wait, and return the node's name; None when there is no such node."""

    def pin(self, node_id: int, fingerprint: str) -> str | None:
        """Set the certificate that the node must show; return its name, None: no such node."""

    def forget_find_limit(self, node_id: int) -> str | None:
        """Delete the node's known limit of matches; return its name, None: no such node."""

    def remove(self, node_id: int) -> None:
        """Delete a node that is held."""

    def unfinished_jobs(self, node_id: int) -> int:
        """Return how many jobs still need a node that is held; none can be added meanwhile."""
