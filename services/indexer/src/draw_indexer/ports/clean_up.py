"""Ports of retention: expiring studies, and files that no row needs."""

from collections.abc import Sequence
from typing import Protocol


class ExpiredStudyRepository(Protocol):
    """The index, as far as deletion needs it."""

    def expired(self, days: int) -> Sequence[str] | None:
        """Return the next studies to delete, oldest first; None if the index is behind."""

    def delete_expired(self, study_instance_uid: str, days: int) -> int | None:
        """Delete a study's rows if it is still expired; return the number of objects, else None."""

    def remove_files(self, most: int) -> int:
        """Remove files of deleted studies, and return how many were to be removed."""


class SuperfluousCopies(Protocol):
    """Second files of objects that the index has."""

    def remove(self, most: int) -> int:
        """Remove copies whose object is proved to be stored, and return how many were examined.

        Copies that could not be judged remain for the next time, and are not counted.
        """
