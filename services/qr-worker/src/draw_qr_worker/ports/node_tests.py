"""Ports of node tests: C-ECHO and probe, and the store of their findings."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_qr_worker.models import NodeTestStep, RemoteNode
from draw_qr_worker.ports.querying import NodeMemory
from draw_qr_worker.ports.supervision import Supervision


class NodeTestSteps(Protocol):
    """Is told each step of a test when it has passed or failed."""

    def passed(self, step: NodeTestStep, words: str = "") -> None:
        """Record that a step has passed, and what it showed."""

    def failed(self, step: NodeTestStep, words: str) -> None:
        """Record that a step has failed although the test goes on."""


class EchoPeers(Protocol):
    """Remote nodes, as a test sees them."""

    def echo(
        self, node: RemoteNode, supervision: Supervision, steps: NodeTestSteps | None = None
    ) -> Mapping[str, Any]:
        """Send C-ECHO and return how long association and answer took.

        With `steps`, a node that offers C-FIND is also asked for a study that nobody has.

        Raises:
            StatusPermanent | StatusTransient: the answer was not success.
            PeerBrokeProtocol: it is no DICOM node; the text names what it is.
        """

    def probe(self, node: RemoteNode, supervision: Supervision) -> Mapping[str, Any]:
        """Return which services the node accepts, and how it identifies itself."""


class NodeFindings(NodeMemory, Protocol):
    """Stores the last test of each node."""

    def record_test(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Store what a C-ECHO found."""
