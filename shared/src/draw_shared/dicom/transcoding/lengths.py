"""Computes the lengths of sequences and items in another encoding, before they are written."""

from typing import Final

from draw_shared.dicom.encoding.element_forms import PIXEL_DATA
from draw_shared.dicom.encoding.vrs import SHORT_VRS
from draw_shared.dicom.transcoding.encoding import IMPLICIT, MAX_SHORT_LENGTH, ElementEncoding
from draw_shared.dicom.transcoding.representations import choose_vr
from draw_shared.dicom.transcoding.structure import (
    BARE_BYTES,
    LONG_BYTES,
    Met,
    NestingLevel,
    StructureEvent,
)

MAX_LENGTHS: Final = 50_000
"""Sequences and items of one object whose lengths are stored; further ones are delimited."""


def is_left_out(met: Met) -> bool:
    """Return whether an element is a group length: retired, and wrong from now on (PS3.5 7.2)."""
    return met.tag & 0xFFFF == 0 and not met.level.opaque


def order(level: NestingLevel, target: ElementEncoding) -> ElementEncoding:
    """Return the encoding of tags and lengths at a level."""
    return IMPLICIT if level.opaque else target


class Lengths:
    """New lengths by position, for structures that had a length; all others are delimited."""

    def __init__(self, target: ElementEncoding) -> None:
        self._target = target
        self._found: dict[int, int] = {}
        self._delimited = False

    def of(self, level: NestingLevel) -> int | None:
        """Return the new length of a sequence or an item, or None if it is delimited."""
        return 0 if level.end == level.start else self._found.get(level.start)

    def note(self, met: Met) -> None:
        """Record what was met; calls must be in order."""
        kind, level = met.kind, met.level
        if kind is StructureEvent.VALUE:
            if not is_left_out(met):
                level.size += self._header(level, met.tag, met.vr, met.length) + met.length
        elif kind is StructureEvent.FRAGMENTS:
            self._begin(met)
        elif kind is StructureEvent.FRAGMENT:
            level.size += BARE_BYTES + met.length
        elif kind is StructureEvent.FRAGMENTS_END:
            level.size += BARE_BYTES * self._delimited
        elif kind is StructureEvent.SEQUENCE_END and level.parent is not None:
            self._end(level, self._header(level.parent, 0, b"SQ", 0))
        elif kind is StructureEvent.ITEM_END:
            self._end(level, BARE_BYTES)

    def _begin(self, met: Met) -> None:
        level = met.level
        encoding = order(level, self._target)
        self._delimited = encoding.explicit or level.opaque
        level.size += LONG_BYTES if encoding.explicit else BARE_BYTES
        if met.tag == PIXEL_DATA and not level.opaque:
            # The length of the decoded pixel data is unknown here.
            level.sized = False

    def _end(self, level: NestingLevel, header: int) -> None:
        parent = level.parent
        if parent is None:
            return
        parent.sized = parent.sized and level.sized
        parent.size += header + level.size
        if level.end == level.start:
            return
        if level.end is None or not level.sized or len(self._found) >= MAX_LENGTHS:
            parent.size += BARE_BYTES
        else:
            self._found[level.start] = level.size

    def _header(self, level: NestingLevel, tag: int, vr: bytes, length: int) -> int:
        if not order(level, self._target).explicit:
            return BARE_BYTES
        # Which of several VRs is chosen does not change the form of the header.
        chosen = choose_vr(tag, vr, signed=False, waveform_bits=0)
        short = chosen in SHORT_VRS and length <= MAX_SHORT_LENGTH
        return BARE_BYTES if short else LONG_BYTES
