"""Ports of sending: the indexed objects, and nodes that accept them by C-STORE."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from draw_qr_worker.models import IndexedObject, RemoteNode, Subject
from draw_qr_worker.ports.supervision import InterruptibleSupervision

Answered = Callable[[IndexedObject, int | None, str], None]
"""Called for each object with the peer's status, or with None and the reason it was not sent."""


class StoredObjectRepository(Protocol):
    """The objects in the index."""

    def objects(self, subject: Subject) -> Sequence[IndexedObject]:
        """Return the objects of a study, a series, or the named SOP instances."""


class StorePeers(Protocol):
    """Sends objects to nodes."""

    def addresses(self, node: RemoteNode) -> Collection[str]:
        """Return the addresses of a node in their normal form; none if its name has none now."""

    def send(
        self,
        node: RemoteNode,
        objects: Sequence[IndexedObject],
        control: InterruptibleSupervision,
        answered: Answered,
    ) -> None:
        """Send objects in transfer syntaxes that the node accepts, and report each answer.

        Raises:
            StoredFileAway: files of some objects cannot be read now; the others were sent, and
                nothing was reported of these.
            PeerTrouble | PeerRejected | PeerCongested: the association failed or broke.
        """
