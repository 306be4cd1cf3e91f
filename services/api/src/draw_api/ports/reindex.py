"""Ports of announcing stored files to the indexer again."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from draw_api.models.upkeep import Reannounced
from draw_shared.contracts.instance import InstanceStoredV1


class SuspectRepository(Protocol):
    """The rows of the index that an earlier release may have written wrongly."""

    def objects(self) -> Iterator[Sequence[InstanceStoredV1]]:
        """Yield the objects behind such rows, in bounded portions.

        Raises:
            Transient: the database went away; more objects may follow.
        """


class Announcements(Protocol):
    """Sends announcements to the indexers."""

    def publish(self, event: InstanceStoredV1) -> None:
        """Announce an object.

        Raises:
            Transient: the broker does not accept it.
        """

    def announce(self, paths: list[str]) -> Reannounced:
        """Announce these files again; return which hold no object, and which were deleted.

        Raises:
            Transient: the broker does not accept them.
        """

    def finish(self) -> None:
        """Return once the broker has confirmed every announcement."""
