"""Counts a node's answers to what it is sent by C-STORE, and says what it did not take."""

from typing import Final

from draw_qr_worker.models import (
    IndexedObject,
    ObjectsRefused,
    StatusTransient,
    SubOperationCounts,
)
from draw_shared.dicom.network.statuses import describe, is_success, is_warning
from draw_shared.wording import message

OUT_OF_RESOURCES: Final = 0xA700
"""What 0xA700 to 0xA7FF have in common (PS3.4 B.2.3): the node, not the object, is at fault."""


class StoreAnswers:
    """The answers of one execution."""

    def __init__(self) -> None:
        self.completed = 0
        self.warning = 0
        self.failed = 0
        self.size_bytes = 0
        self.words = ""
        """Why the last object that was not taken was not."""
        self._refusals = 0
        self._lacked_room = 0

    @property
    def taken(self) -> int:
        """The objects that the node has answered for."""
        return self.completed + self.warning

    def count(self, one: IndexedObject, status: int | None, reason: str) -> bool:
        """Count one answer, and return whether the node took the object."""
        if status is None or not is_success(status):
            self.failed += 1
            self._refusals += status is not None
            self._lacked_room += status is not None and status & 0xFF00 == OUT_OF_RESOURCES
            self.words = (
                reason
                if status is None
                else message("the node said: %(status)s", status=describe(status))
            )
            return False
        self.size_bytes += one.size_bytes
        self.warning += is_warning(status)
        self.completed += not is_warning(status)
        return True

    def counts(self, remaining: int) -> SubOperationCounts:
        """Return the counts as progress shows them."""
        return SubOperationCounts(remaining, self.completed, self.failed, self.warning)

    def say_lacking(self, lacking: int, expected: int) -> str:
        """Return in words how many were not taken, and why.

        Raises:
            ObjectsRefused: the node refused some, which another try may change.
            StatusTransient: it has no room for any.
        """
        words = say_not_taken(lacking, expected, self.words)
        if self._lacked_room and not self.taken:
            raise StatusTransient(words)
        if self._refusals:
            raise ObjectsRefused(words)
        return words


def say_not_taken(lacking: int, expected: int, reason: str) -> str:
    """Return in words how many were not taken, with the reason if there is one."""
    words = message(
        "%(lacking)s of %(expected)s were not taken", lacking=lacking, expected=expected
    )
    return f"{words}; {reason}" if reason else words
