"""Ports of retention: the studies that expire, and files that no row needs."""

from collections.abc import Sequence
from typing import Protocol


class ExpiredStudyRepository(Protocol):
    """The index, as far as deletion is concerned."""

    def expired(self, days: int) -> Sequence[str] | None:
        """Return the next studies that go, oldest first; None: the index is behind."""

    def delete_expired(self, study_instance_uid: str, days: int) -> int | None:
        """Delete a study's rows if it still goes; return the number of objects, else None."""

    def remove_files(self, most: int) -> int:
        """Remove files of deleted studies, and return how many were to go."""


class SuperfluousCopies(Protocol):
    """Second files of objects that the index has."""

    def remove(self, most: int) -> int:
        """Remove copies whose object is proved to be there, and return how many were looked at.

        What could not be judged stays for the next time, and is not counted.
        """
