"""Ports of announcing stored files to the indexer once more."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from draw_api.models.upkeep import Reannounced
from draw_shared.contracts.instance import InstanceStoredV1


class SuspectRepository(Protocol):
    """The rows of the index that an earlier release may have written wrongly."""

    def objects(self) -> Iterator[Sequence[InstanceStoredV1]]:
        """Yield the objects that such rows came from, in bounded portions.

        Raises:
            Transient: the database went away; what was yielded is not all.
        """


class Announcements(Protocol):
    """The way to the indexers."""

    def publish(self, event: InstanceStoredV1) -> None:
        """Announce an object.

        Raises:
            Transient: the broker does not take it.
        """

    def announce(self, paths: list[str]) -> Reannounced:
        """Announce these objects anew; return which are none, and which were deleted.

        Raises:
            Transient: the broker does not take them.
        """

    def finish(self) -> None:
        """Return once the broker has everything that was announced."""
