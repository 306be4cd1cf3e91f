"""Ports of node tests: C-ECHO and probe, and the store of their findings."""

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
        """Return which services the node accepts, and how it identifies itself."""


class NodeFindings(NodeMemory, Protocol):
    """Stores the last test of each node."""

    def record_test(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Store what a C-ECHO found."""
