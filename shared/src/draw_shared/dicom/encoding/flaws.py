"""Violations of PS3.5 that data sets are read in spite of."""

from collections.abc import Iterator
from enum import StrEnum

from draw_shared.wording import message


def format_tag(tag: int) -> str:
    """Return a tag in the notation of the standard."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Flaw(StrEnum):
    """A violation of PS3.5 that did not stop the reading."""

    OTHER_ENCODING = message("another encoding than its transfer syntax")
    FOREIGN_GROUP = message("elements of groups 0000 or 0002")
    ORDER = message("elements out of order")
    TWICE = message("an element twice")
    FORM = message("an element header of another form")
    UNKNOWN_VR = message("an unknown value representation")
    NO_SEQUENCE = message("undefined length of a value that is no sequence")
    ITEM_END_MISSING = message("an item without delimiter")
    SEQUENCE_END_MISSING = message("a sequence without delimiter")
    STRAY_DELIMITER = message("a stray delimiter")
    TOO_LONG = message("a value longer than any of its kind may be")
    PADDING = message("zeros behind the last element")
    UNREADABLE = message("no element can be read from here on")
    CUT_SHORT = message("an element is longer than the data set")


class Flaws:
    """The flaws of one data set: each kind once, with the first element concerned."""

    def __init__(self) -> None:
        self._found: dict[Flaw, int] = {}

    def add(self, flaw: Flaw, tag: int) -> None:
        """Add a flaw."""
        self._found.setdefault(flaw, tag)

    def update(self, others: "Flaws") -> None:
        """Add the flaws of another data set."""
        for flaw, tag in others._found.items():  # noqa: SLF001 - of the same class
            self.add(flaw, tag)

    def __iter__(self) -> Iterator[Flaw]:
        """Yield the kinds of flaws."""
        return iter(self._found)

    def __bool__(self) -> bool:
        """Return whether there are any flaws."""
        return bool(self._found)

    @property
    def words(self) -> str:
        """All flaws in words, with tags but no values of the data set; empty if there are none."""
        return "; ".join(f"{flaw} at {format_tag(tag)}" for flaw, tag in self._found.items())
