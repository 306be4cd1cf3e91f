"""Ports of testing a node: C-ECHO and probe, and where their findings are kept."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_qr_worker.models import RemoteNode
from draw_qr_worker.ports.querying import NodeMemory
from draw_qr_worker.ports.supervision import Supervision


class EchoPeers(Protocol):
    """Remote nodes, as a test sees them."""

    def echo(self, node: RemoteNode, supervision: Supervision) -> Mapping[str, Any]:
        """Send C-ECHO and return how long association and answer took.

        Raises:
            StatusPermanent | StatusTransient: the answer was not success.
        """

    def probe(self, node: RemoteNode, supervision: Supervision) -> Mapping[str, Any]:
        """Return which services the node accepts, and what it says of itself."""


class NodeFindings(NodeMemory, Protocol):
    """Where the last test of each node is kept."""

    def tested(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Keep what a C-ECHO found."""
