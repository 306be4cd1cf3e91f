"""Ports of sending: the objects of the index, and nodes that take them by C-STORE."""

from collections.abc import Callable, Sequence
from typing import Protocol

from draw_qr_worker.models import IndexedObject, RemoteNode, Subject
from draw_qr_worker.ports.supervision import InterruptibleSupervision

Answered = Callable[[IndexedObject, int | None, str], None]
"""Told each object with the peer's status, or None and why it was not sent."""


class StoredObjectRepository(Protocol):
    """What the index has."""

    def objects(self, subject: Subject) -> Sequence[IndexedObject]:
        """Return the objects of a study, a series, or the SOP instances named."""


class StorePeers(Protocol):
    """Sends to nodes."""

    def send(
        self,
        node: RemoteNode,
        objects: Sequence[IndexedObject],
        control: InterruptibleSupervision,
        answered: Answered,
    ) -> None:
        """Send objects as the node takes them and tell each answer.

        Raises:
            PeerTrouble | PeerRejected | PeerCongested: the association was not possible, or broke.
        """
