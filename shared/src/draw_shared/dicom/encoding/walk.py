"""The state of a walk through a data set, and how it ends."""

from enum import Enum
from typing import NamedTuple

from draw_shared.dicom.encoding.flaws import Flaws
from draw_shared.errors import Permanent


class Undecodable(Permanent):
    """The data set cannot be read in its transfer syntax."""


class WalkEnd(Enum):
    """Why the reading of a data set ended."""

    PASSED = "every element that was wanted has been passed"
    ENDED = "there was no more"
    CUT = "an element claims more than there was"
    DAMAGED = "what follows is no data set in this encoding"


class Gathered(NamedTuple):
    """What was found in a data set, and how the reading ended."""

    values: dict[int, bytes]
    ending: WalkEnd
    flaws: Flaws
    stopped_at: int
    """Tag of the last element that was started."""


class Span(NamedTuple):
    """The position of an element in its data set."""

    tag: int
    vr: bytes
    start: int
    stop: int
    """Where its value ends, without a delimiter."""
    after: int
    """Where the next element begins."""
    flawed: bool
    """Whether something of it had to be read past."""


class Walk:
    """The state of one walk."""

    __slots__ = ("count", "flaws", "looked_for_padding", "tag", "whole")

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.flaws = Flaws()
        self.tag = 0
        self.count = 0
        self.looked_for_padding = False
