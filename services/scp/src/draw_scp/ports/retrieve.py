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
        """Return what is to be sent, series by series in the order of instance numbers.

        Raises:
            Transient: the index does not answer; nothing is known about what there is.
        """

    def destination(self, ae_title: str, by: Claimant) -> Destination | None:
        """Return the active remote node with this AE title, or None.

        Raises:
            Transient: the index does not answer; it is not known whether there is one.
        """


class RenditionSource(Protocol):
    """The stored objects."""

    def renditions(
        self, instance: StoredInstance, takes: Callable[[str], bool]
    ) -> Iterator[Rendition]:
        """Yield the object in every transfer syntax that a peer takes, best first.

        Raises:
            Permanent: it does not lie there, or is no Part 10 file.
        """


class ObjectDelivery(Protocol):
    """Objects on their way to a destination."""

    def results(self) -> Iterator[Delivered | None]:
        """Yield what became of each object as it does, and None now and then meanwhile."""

    def cancel(self) -> None:
        """Begin no further object; `results` ends with those that are under way."""


class ObjectDeliveries(Protocol):
    """Sends to other peers."""

    def delivering(
        self, destination: Destination, order: DeliveryOrder, instances: Sequence[StoredInstance]
    ) -> AbstractContextManager[ObjectDelivery]:
        """Begin; nothing is under way any more when the block is left."""
