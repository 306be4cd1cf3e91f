"""Ports of C-MOVE and C-GET: the index, the stored objects, and the way to other peers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from draw_scp.models import Delivered, DeliveryOrder, Destination, StoredInstance
from draw_shared.dicom.network.renditions import Rendition
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import Selection


class InstanceCatalogue(Protocol):
    """The index."""

    def instances(self, selection: Selection, by: Claimant) -> list[StoredInstance]:
        """Return the instances to send, series by series in the order of instance numbers.

        Raises:
            Transient: the index does not answer; nothing is known about the selection.
        """

    def destination(self, ae_title: str, by: Claimant) -> Destination | None:
        """Return the active remote node with this AE title, or None.

        Raises:
            Transient: the index does not answer; nothing is known about the node.
        """


class RenditionSource(Protocol):
    """The stored objects."""

    def renditions(
        self, instance: StoredInstance, takes: Callable[[str], bool]
    ) -> Iterator[Rendition]:
        """Yield the object in every transfer syntax that the peer accepts, the best first.

        Raises:
            Permanent: the file is missing or not a Part 10 file.
        """


class ObjectDelivery(Protocol):
    """Objects on their way to one destination."""

    def results(self) -> Iterator[Delivered | None]:
        """Yield the result of each object once it is known, and None from time to time."""

    def cancel(self) -> None:
        """Start no further object; `results` ends after those already started."""


class ObjectDeliveries(Protocol):
    """Sends objects to other peers."""

    def delivering(
        self, destination: Destination, order: DeliveryOrder, instances: Sequence[StoredInstance]
    ) -> AbstractContextManager[ObjectDelivery]:
        """Start sending; everything has ended when the block is left."""
