"""Ports of finding lost announcements: the records on the volume, the index and the broker."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from draw_indexer.models import UnderWay
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.storage.announced import Announced


class AnnouncementRecords(Protocol):
    """What was announced, on the storage volume."""

    def names(self, most: int) -> Sequence[str]:
        """Return the names of records, what was announced first of all first."""

    def lines(self, name: str) -> Sequence[bytes]:
        """Return the announcements of a record as they were published; none if it is unreadable."""

    def remove(self, name: str) -> None:
        """Remove a record of which nothing is missing."""

    def read(self, name: str) -> Announced | None:
        """Return a record; None when it is gone. What cannot be read of it is left out."""

    def postpone(self, record: Announced) -> str:
        """Count that a record is announced again, put it behind all others; return its new name."""

    def settle(self, record: Announced) -> None:
        """Remove a record that nothing is missing of; one that is damaged is set aside."""


class AnnouncedObjectLookup(Protocol):
    """The index, for whoever looks."""

    def missing(self, objects: Sequence[InstanceStoredV1]) -> Sequence[InstanceStoredV1]:
        """Return those that the index has not, in no version, and that were not deleted."""


class AnnouncedObjectRepository(Protocol):
    """The way to the index."""

    def looking(self) -> AbstractContextManager[AnnouncedObjectLookup | None]:
        """Give the index to one process at a time; None: another is looking.

        Raises:
            Transient: the database does not answer.
        """


class AnnouncementBroker(Protocol):
    """The way to the queues."""

    def under_way(self) -> UnderWay:
        """Return how many messages with announcements there are.

        Raises:
            Transient: the broker does not answer.
        """

    def dead(self) -> Collection[UUID]:
        """Return the announcements that are dead letters, or that this process made some.

        Raises:
            Transient: the broker does not answer.
        """

    def announce(self, objects: Sequence[InstanceStoredV1]) -> None:
        """Return once the broker has these announcements.

        Raises:
            Transient: it does not take them.
        """
