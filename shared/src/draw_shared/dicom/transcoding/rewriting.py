"""Writes a data set in another encoding: new headers, copied values (PS3.5 A.1 to A.3)."""

from collections.abc import Iterator, Mapping
from typing import Final

from draw_shared.dicom.encoding.element_forms import (
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
)
from draw_shared.dicom.encoding.vrs import LONG_VRS, SHORT_VRS
from draw_shared.dicom.transcoding.encoding import (
    MAX_SHORT_LENGTH,
    AsWritten,
    ElementEncoding,
    swap_bytes,
)
from draw_shared.dicom.transcoding.lengths import is_left_out, order
from draw_shared.dicom.transcoding.pixels import EncapsulatedPixels
from draw_shared.dicom.transcoding.plan import NO_SWAP, FurtherFrames, Part, Stretch
from draw_shared.dicom.transcoding.representations import UNKNOWN, choose_vr
from draw_shared.dicom.transcoding.source import DataSetSource
from draw_shared.dicom.transcoding.structure import (
    Met,
    NestingLevel,
    StructureEvent,
    walk_structure,
)
from draw_shared.dicom.transcoding.survey import (
    PIXEL_REPRESENTATION,
    WAVEFORM_BITS_ALLOCATED,
    Survey,
)

OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
"""Positions of encapsulated frames (PS3.3 C.7.6.3.1.8), which native pixel data do not have."""
MIN_COPIED_BYTES: Final = 64 * 1024
"""Values from this size on are copied from the file when they are due."""


class Rewriting:
    """Converts one data set to another encoding.

    Args:
        source: the data set, at its beginning.
        written: its real encoding.
        target: the new encoding.
        survey: what is known about it.
        pictures: encapsulated pixel data to decode, by the position of their data sets.
    """

    def __init__(
        self,
        source: DataSetSource,
        written: AsWritten,
        target: ElementEncoding,
        survey: Survey,
        pictures: Mapping[int, EncapsulatedPixels],
    ) -> None:
        self._source = source
        self._as_written = written
        self._target = target
        self._survey = survey
        self._pictures = pictures
        self._waiting: dict[int, dict[int, tuple[bytes, bytes]]] = {
            start: picture.changes(target) for start, picture in pictures.items()
        }
        self._decoding = self._delimited = False
        self._numbers = {start: number for number, start in enumerate(pictures)}

    def parts(self) -> Iterator[Part]:
        """Yield the data set in its new encoding.

        Raises:
            Untranscodable: pixel data cannot be decoded.
            OSError: the file cannot be read.
        """
        for met in walk_structure(self._source, self._as_written):
            yield from self._write(met)

    def _write(self, met: Met) -> Iterator[Part]:
        kind, level = met.kind, met.level
        if kind is StructureEvent.VALUE:
            yield from self._value(met)
        elif kind is StructureEvent.SEQUENCE and level.parent is not None:
            yield from self._inserted(level.parent, met.tag)
            yield self._header(level.parent, met.tag, met.vr, self._length(level))
        elif kind is StructureEvent.ITEM:
            length = self._length(level)
            yield self._order(level).bare.pack(ITEM >> 16, ITEM & 0xFFFF, length)
        elif kind is StructureEvent.ITEM_END:
            yield from self._inserted(level, UNDEFINED)
            yield from self._delimiter(level, ITEM_END)
        elif kind is StructureEvent.SEQUENCE_END:
            yield from self._delimiter(level, SEQUENCE_END)
        elif kind is not StructureEvent.STRAY:
            yield from self._fragments(met)

    # --- headers -----------------------------------------------------------------------

    def _order(self, level: NestingLevel) -> ElementEncoding:
        return order(level, self._target)

    def _length(self, level: NestingLevel) -> int:
        length = self._survey.lengths.of(level)
        return UNDEFINED if length is None else length

    def _delimiter(self, level: NestingLevel, tag: int) -> Iterator[bytes]:
        if self._survey.lengths.of(level) is None:
            yield self._order(level).bare.pack(tag >> 16, tag & 0xFFFF, 0)

    def _header(self, level: NestingLevel, tag: int, vr: bytes, length: int) -> bytes:
        """Return the header of an element in a data set."""
        encoding = self._order(level)
        group, element = tag >> 16, tag & 0xFFFF
        if not encoding.explicit:
            return encoding.bare.pack(group, element, length)
        if vr in SHORT_VRS:
            return encoding.short.pack(group, element, vr, length)
        return encoding.long.pack(group, element, vr, length)

    # --- values ------------------------------------------------------------------------

    def _value(self, met: Met) -> Iterator[Part]:
        level, tag, length = met.level, met.tag, met.length
        if level.start in self._waiting:
            yield from self._inserted(level, tag)
            if tag in OFFSET_TABLES or tag in self._waiting[level.start]:
                yield from self._inserted(level, tag + 1)
                return
        if level.opaque:
            yield self._header(level, tag, UNKNOWN, length)
            yield from self._copy(length)
            return
        if is_left_out(met):
            return
        vr = self._one_of(met)
        if length > MAX_SHORT_LENGTH and vr not in LONG_VRS:
            vr = UNKNOWN
        yield self._header(level, tag, vr, length)
        yield from self._copy(length, NO_SWAP if level.encoding.big == self._target.big else vr)

    def _copy(self, length: int, vr: bytes = NO_SWAP) -> Iterator[Part]:
        """Yield a value unchanged, apart from the byte order of numbers if a VR is given."""
        place = self._source.place
        if place is not None and length >= MIN_COPIED_BYTES:
            yield Stretch(place, length, vr)
        else:
            for part in self._source.parts(length):
                yield swap_bytes(part, vr)

    def _one_of(self, met: Met) -> bytes:
        """Return the VR to write."""
        return choose_vr(
            met.tag,
            met.vr,
            signed=bool(self._survey.number(met.level, PIXEL_REPRESENTATION)),
            waveform_bits=self._survey.number(met.level, WAVEFORM_BITS_ALLOCATED),
        )

    # --- encapsulated values -----------------------------------------------------------

    def _inserted(self, level: NestingLevel | None, before: int) -> Iterator[bytes]:
        """Yield the changed elements of a data set whose tags are lower than `before`."""
        changes = self._waiting.get(level.start) if level is not None else None
        for tag in sorted(changes or ()):
            if changes is not None and level is not None and tag < before:
                vr, value = changes.pop(tag)
                yield self._header(level, tag, vr, len(value)) + value

    def _fragments(self, met: Met) -> Iterator[Part]:
        level, kind = met.level, met.kind
        encoding = self._order(level)
        if kind is StructureEvent.FRAGMENTS:
            picture = None if level.opaque else self._pictures.get(level.start)
            self._decoding = met.tag == PIXEL_DATA and picture is not None
            # Without VRs, only sequences can have undefined length.
            self._delimited = encoding.explicit or level.opaque
            if self._decoding and picture is not None:
                yield from self._decode(level, picture)
            elif self._delimited:
                vr = met.vr if met.vr in LONG_VRS else b"OB"
                yield self._header(level, met.tag, vr, UNDEFINED)
            else:
                size = self._survey.encapsulated[self._source.position].size
                yield self._header(level, met.tag, UNKNOWN, size)
        elif self._decoding:
            return
        elif kind is StructureEvent.FRAGMENT:
            yield encoding.bare.pack(ITEM >> 16, ITEM & 0xFFFF, met.length)
            yield from self._copy(met.length)
        elif self._delimited:
            yield encoding.bare.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)

    def _decode(self, level: NestingLevel, picture: EncapsulatedPixels) -> Iterator[Part]:
        yield from self._inserted(level, PIXEL_DATA)
        size = picture.length + picture.length % 2
        yield self._header(level, PIXEL_DATA, picture.vr, size)
        yield swap_bytes(picture.first, picture.vr) if self._target.big else picture.first
        if picture.length > len(picture.first):
            vr = picture.vr if self._target.big else NO_SWAP
            yield FurtherFrames(self._numbers[level.start], vr)
        if picture.length % 2:
            yield b"\0"
