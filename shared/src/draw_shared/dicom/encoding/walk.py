"""What a walk through a data set meets, and how it ends."""

from enum import Enum
from typing import NamedTuple

from draw_shared.dicom.encoding.flaws import Flaws
from draw_shared.errors import Permanent


class Undecodable(Permanent):
    """The data set cannot be read as its transfer syntax says."""


class WalkEnd(Enum):
    """Why a data set was read no further."""

    PASSED = "every element that was wanted has been passed"
    ENDED = "there was no more"
    CUT = "an element claims more than there was"
    DAMAGED = "what follows is no data set in this encoding"


class Gathered(NamedTuple):
    """What was found in a data set, and how it ended."""

    values: dict[int, bytes]
    ending: WalkEnd
    flaws: Flaws
    stopped_at: int
    """Tag of the last element that was begun."""


class Span(NamedTuple):
    """Where an element lies in its data set."""

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
    """What one walk has met so far."""

    __slots__ = ("count", "flaws", "looked_for_padding", "tag", "whole")

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.flaws = Flaws()
        self.tag = 0
        self.count = 0
        self.looked_for_padding = False
