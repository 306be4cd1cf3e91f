"""Ports of finding lost announcements: the records on the volume, the index and the broker."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from draw_indexer.models import UnderWay
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.storage.announced import Announced


class AnnouncementRecords(Protocol):
    """The records of announcements on the storage volume."""

    def names(self, most: int) -> Sequence[str]:
        """Return the names of records, the oldest announcements first."""

    def lines(self, name: str) -> Sequence[bytes]:
        """Return the announcements of a record as they were published; none if it is unreadable."""

    def remove(self, name: str) -> None:
        """Remove a record whose objects are all indexed."""

    def read(self, name: str) -> Announced | None:
        """Return a record without its unreadable lines; None when it is gone."""

    def postpone(self, record: Announced) -> str:
        """Count a repeated announcement; move the record behind all others; return its new name."""

    def settle(self, record: Announced) -> None:
        """Remove a record whose objects are all indexed; set it aside if it is damaged."""


class AnnouncedObjectLookup(Protocol):
    """The index during one comparison."""

    def missing(self, objects: Sequence[InstanceStoredV1]) -> Sequence[InstanceStoredV1]:
        """Return the objects that the index has in no version and that were not deleted."""


class AnnouncedObjectRepository(Protocol):
    """Gives access to the index."""

    def looking(self) -> AbstractContextManager[AnnouncedObjectLookup | None]:
        """Yield the index to one process at a time; None if another process compares now.

        Raises:
            Transient: the database does not answer.
        """


class AnnouncementBroker(Protocol):
    """The queues of announcements."""

    def count_under_way(self) -> UnderWay:
        """Return how many messages with announcements the broker holds.

        Raises:
            Transient: the broker does not answer.
        """

    def dead(self) -> Collection[UUID]:
        """Return the announcements that are dead letters, or that this process turned into some.

        Raises:
            Transient: the broker does not answer.
        """

    def announce(self, objects: Sequence[InstanceStoredV1]) -> None:
        """Return once the broker has these announcements.

        Raises:
            Transient: the broker does not accept them.
        """
