"""Where the frames of a stored object are, so that one of them is read without the others.

A table is made once, from what `json_model` found, and kept as bytes: 22 bytes for native pixel
data of any size, four bytes for each fragment of encapsulated pixel data (PS3.5 A.4).

A basic or extended offset table is believed only if each of its offsets is that of a fragment and
their number is the number of frames. Otherwise the fragments decide: one for each frame, all for
the only frame, or as the code streams in them begin and end.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct, error
from sys import byteorder
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.element_forms import PIXEL_DATA
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.codestreams import (
    JP2_SIGNATURE,
    JPEG_2000_START,
    JPEG_START,
    RLE_LOSSLESS,
)
from draw_shared.dicom.transcoding.pixels import END_BYTES, END_OF_IMAGE
from draw_shared.dicom.transcoding.survey import (
    BITS_ALLOCATED,
    COLUMNS,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    ROWS,
    SAMPLES_PER_PIXEL,
)
from draw_shared.dicom.web.opened_file import (
    DOUBLE_PIXEL_DATA,
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    FLOAT_PIXEL_DATA,
    StoredImage,
    ValuePosition,
)
from draw_shared.errors import Permanent
from draw_shared.wording import message

MAX_FRAMES: Final = 1_000_000
MAX_SCANNED_FRAGMENTS: Final = 200_000
"""Fragments that are looked into when no table says where frames begin."""
MAX_OFFSETS_BYTES: Final = 8 * MAX_FRAMES
ITEM_HEADER_BYTES: Final = 8
BYTE_BITS: Final = 8
SUBSAMPLED: Final = frozenset(("YBR_FULL_422", "YBR_PARTIAL_422"))
"""Photometric interpretations of native pixels with two samples each (PS3.3 C.7.6.3.1.2)."""
STARTS: Final = (JPEG_START, JPEG_2000_START, JP2_SIGNATURE)
BITS_OF: Final = {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}

NATIVE: Final = 1
CONTIGUOUS: Final = 2
POSITIONED: Final = 3
INFLATED: Final = 1
BIG_ENDIAN: Final = 2
_HEAD: Final = Struct("<BBI")
_NATIVE: Final = Struct("<QQ")
_CONTIGUOUS: Final = Struct("<QI")
_POSITIONED: Final = Struct("<I")

ReadBytes = Callable[[int, int], bytes]
"""Returns bytes by position and length; fewer only at the end of the file."""


class FrameNotThere(Permanent):
    """The object has no frame of this number."""


class FrameExtent(NamedTuple):
    """Bytes of a frame that lie together."""

    position: int
    """In the file, or in the inflated data set."""
    length: int


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The positions of the frames of one object."""

    frames: int
    position: int = 0
    """Of the first frame of native pixel data."""
    frame_bits: int = 0
    """Length of each frame of native pixel data; 0 if they are encapsulated."""
    positions: Sequence[int] = ()
    """Of the fragments of encapsulated pixel data."""
    lengths: Sequence[int] = ()
    """Bytes of each fragment."""
    begins: Sequence[int] = ()
    """Index of the first fragment of each frame, and the number of fragments."""
    inflated: bool = False
    """Whether positions count from the beginning of the inflated data set."""
    big: bool = False
    """Whether numbers in native frames are in big endian."""

    @property
    def encapsulated(self) -> bool:
        """Whether frames are code streams in fragments."""
        return not self.frame_bits

    @property
    def aligned(self) -> bool:
        """Whether each frame begins and ends with a byte: if not, its bits must be shifted."""
        return not self.frame_bits % BYTE_BITS or self.frames == 1

    def extents(self, number: int) -> tuple[FrameExtent, ...]:
        """Return what must be read for a frame, in order; frames count from 1 (PS3.18 10.4.1.1.3).

        Of frames that are not aligned, the first and last byte belong to others too.

        Raises:
            FrameNotThere: there is none of this number.
        """
        if not 1 <= number <= self.frames:
            raise FrameNotThere(
                message(
                    "There is no frame %(number)s; the object has %(frames)s.",
                    number=number,
                    frames=self.frames,
                )
            )
        if self.encapsulated:
            begin, end = self.begins[number - 1], self.begins[number]
            return tuple(map(FrameExtent, self.positions[begin:end], self.lengths[begin:end]))
        first = (number - 1) * self.frame_bits
        begin, end = first // BYTE_BITS, -(-(first + self.frame_bits) // BYTE_BITS)
        return (FrameExtent(self.position + begin, end - begin),)

    def length_of(self, number: int) -> int:
        """Return the length of a frame, bytes.

        Raises:
            FrameNotThere: there is none of this number.
        """
        if self.encapsulated:
            return sum(extent.length for extent in self.extents(number))
        self.extents(number)
        return -(-self.frame_bits // BYTE_BITS)

    def read(self, number: int, read: ReadBytes) -> bytes:
        """Return a frame; one of single bits begins with the lowest bit (PS3.5 8.1.1).

        Raises:
            FrameNotThere: there is none of this number.
            Undecodable: the file is shorter than when the table was made.
            OSError: the file cannot be read.
        """
        parts = []
        for position, length in self.extents(number):
            part = read(position, length)
            if len(part) != length:
                raise Undecodable(message("the pixel data are cut short"))
            parts.append(part)
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.aligned:
            return whole
        shift = (number - 1) * self.frame_bits % BYTE_BITS
        bits = int.from_bytes(whole, "little") >> shift & (1 << self.frame_bits) - 1
        return bits.to_bytes(self.length_of(number), "little")

    def encode(self) -> bytes:
        """Return the table as bytes, for `decode`."""
        flags = INFLATED * self.inflated | BIG_ENDIAN * self.big
        if not self.encapsulated:
            head = _HEAD.pack(NATIVE, flags, self.frames)
            return head + _NATIVE.pack(self.position, self.frame_bits)
        fragments = len(self.lengths)
        if self.positions == _follow(self.positions[0], self.lengths):
            parts = [
                _HEAD.pack(CONTIGUOUS, flags, self.frames),
                _CONTIGUOUS.pack(self.positions[0], fragments),
            ]
        else:
            parts = [
                _HEAD.pack(POSITIONED, flags, self.frames),
                _POSITIONED.pack(fragments),
                _pack("Q", self.positions),
            ]
        parts.append(_pack("I", self.lengths))
        if fragments != self.frames:
            parts.append(_pack("I", self.begins))
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> "FrameTable":
        """Return the table that `encode` made.

        Raises:
            Undecodable: these bytes are no table.
        """
        try:
            return _decode(raw)
        except (error, IndexError, ValueError, OverflowError) as broken:
            raise Undecodable(message("a table of frames is damaged")) from broken


def _decode(raw: bytes) -> FrameTable:
    kind, flags, frames = _HEAD.unpack_from(raw)
    at = _HEAD.size
    inflated, big = bool(flags & INFLATED), bool(flags & BIG_ENDIAN)
    if kind == NATIVE:
        position, bits = _NATIVE.unpack_from(raw, at)
        if not bits or len(raw) != at + _NATIVE.size:
            raise ValueError("no native table")
        return FrameTable(frames, position, bits, inflated=inflated, big=big)
    if kind == CONTIGUOUS:
        first, fragments = _CONTIGUOUS.unpack_from(raw, at)
        at += _CONTIGUOUS.size
        lengths, at = _unpack("I", raw, at, fragments)
        positions = _follow(first, lengths)
    elif kind == POSITIONED:
        (fragments,) = _POSITIONED.unpack_from(raw, at)
        positions, at = _unpack("Q", raw, at + _POSITIONED.size, fragments)
        lengths, at = _unpack("I", raw, at, fragments)
    else:
        raise ValueError("an unknown kind of table")
    begins: Sequence[int] = range(frames + 1)
    if fragments != frames:
        begins, at = _unpack("I", raw, at, frames + 1)
    if at != len(raw) or not fragments:
        raise ValueError("a table of another length")
    return FrameTable(
        frames,
        positions=positions,
        lengths=lengths,
        begins=begins,
        inflated=inflated,
        big=big,
    )


def _follow(first: int, lengths: Sequence[int]) -> "array[int]":
    """Return the positions of fragments that follow each other, with the header of each."""
    gaps = (length + ITEM_HEADER_BYTES for length in lengths[:-1])
    return array("Q", accumulate(gaps, initial=first))


def _pack(kind: str, numbers: Sequence[int]) -> bytes:
    held = array(kind, numbers)
    if byteorder == "big":
        held.byteswap()
    return held.tobytes()


def _unpack(kind: str, raw: bytes, at: int, count: int) -> "tuple[array[int], int]":
    held = array(kind)
    end = at + count * held.itemsize
    if end > len(raw):
        raise ValueError("a table is cut short")
    held.frombytes(raw[at:end])
    if byteorder == "big":
        held.byteswap()
    return held, end


# --- making ------------------------------------------------------------------------------


def make_frame_table(image: StoredImage, read: ReadBytes) -> FrameTable:
    """Return where the frames of an object are.

    Args:
        image: what `json_model` found in it.
        read: reads the file, or the inflated data set; only for tables and ends of fragments.

    Raises:
        Undecodable: it has no frames, or nothing says reliably where they are.
        OSError: the file cannot be read.
    """
    count = _frame_count(image)
    for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
        place = image.places.get(tag)
        if place is not None and place.encapsulated:
            return _encapsulated(image, count, read)
        if place is not None and place.length:
            return _native(image, max(1, count), tag, place)
    raise Undecodable(message("the object has no frames"))


def _frame_count(image: StoredImage) -> int:
    """Return Number of Frames, or 0 if the object does not say it."""
    text = image.text(NUMBER_OF_FRAMES).removeprefix("+")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_FRAMES)):
        raise Undecodable(message("the number of frames cannot be"))
    count = int(text)
    if count > MAX_FRAMES:
        raise Undecodable(message("there are too many frames"))
    return count


def _native(image: StoredImage, count: int, tag: int, place: ValuePosition) -> FrameTable:
    rows, columns = image.number(ROWS), image.number(COLUMNS)
    bits = BITS_OF.get(tag) or image.number(BITS_ALLOCATED)
    if not rows or not columns or not bits:
        raise Undecodable(message("the pixel data have no rows, columns or bits"))
    samples = image.number(SAMPLES_PER_PIXEL) or 1
    if samples == 3 and image.text(PHOTOMETRIC_INTERPRETATION) in SUBSAMPLED:  # noqa: PLR2004
        samples = 2
    frame_bits = rows * columns * samples * bits
    if -(-frame_bits * count // BYTE_BITS) > place.length:
        raise Undecodable(message("the pixel data are shorter than their frames"))
    return FrameTable(count, place.position, frame_bits, inflated=image.inflated, big=image.big)


def _encapsulated(image: StoredImage, count: int, read: ReadBytes) -> FrameTable:
    if image.fragments is None or len(image.fragments[0]) < 2:  # noqa: PLR2004 - table, fragment
        raise Undecodable(message("there are no frames"))
    positions, lengths = image.fragments
    fragments = _Fragments(positions[1:], lengths[1:])
    extended = _by_extended_offsets(image, count, fragments, read)
    if extended is not None:
        begins: Sequence[int] | None = range(len(extended) + 1)
        fragments = _Fragments(fragments.positions[: len(extended)], extended)
    else:
        begins = _by_basic_offsets(count, fragments, positions[0], lengths[0], read)
    if begins is None:
        begins = _by_fragments(image, max(1, count), fragments, read)
    return FrameTable(
        len(begins) - 1,
        positions=fragments.positions,
        lengths=fragments.lengths,
        begins=begins,
        inflated=image.inflated,
    )


def _numbers(kind: str, position: int, length: int, read: ReadBytes) -> "array[int]":
    raw = read(position, length)
    if len(raw) != length:
        raise Undecodable(message("the pixel data are cut short"))
    return _unpack(kind, raw, 0, length // array(kind).itemsize)[0]


class _Fragments(NamedTuple):
    positions: "array[int]"
    lengths: "array[int]"

    def by_offset(self) -> dict[int, int]:
        """Return the fragments by the offset of their items from the first one."""
        first = self.positions[0]
        return {position - first: n for n, position in enumerate(self.positions)}


def _by_extended_offsets(
    image: StoredImage, count: int, fragments: _Fragments, read: ReadBytes
) -> "array[int] | None":
    """Return the length of each frame by the extended offset table (PS3.3 C.7.6.3.1.8).

    Each frame is one fragment. None means that there is no table, or a wrong one.
    """
    places = image.places.get(EXTENDED_OFFSETS), image.places.get(EXTENDED_LENGTHS)
    if places[0] is None or places[1] is None or places[0].length != places[1].length:
        return None
    if not 0 < places[0].length <= MAX_OFFSETS_BYTES or places[0].length % BYTE_BITS:
        return None
    offsets, said = (_numbers("Q", place.position, place.length, read) for place in places if place)
    if len(offsets) != (count or len(offsets)) or len(offsets) != len(fragments.positions):
        return None
    first = fragments.positions[0]
    agree = all(
        offset == position - first and 0 < length <= held
        for offset, position, length, held in zip(
            offsets, fragments.positions, said, fragments.lengths, strict=True
        )
    )
    return said if agree else None


def _by_basic_offsets(
    count: int, fragments: _Fragments, position: int, length: int, read: ReadBytes
) -> "array[int] | None":
    """Return the first fragment of each frame; None without a table that can be right."""
    if not 0 < length <= MAX_OFFSETS_BYTES or length % 4:
        return None
    offsets = _numbers("I", position, length, read)
    if offsets[0] or len(offsets) != (count or len(offsets)):
        return None
    known = fragments.by_offset()
    begins = array("I")
    for offset in offsets:
        fragment = known.get(offset)
        if fragment is None or (begins and fragment <= begins[-1]):
            return None
        begins.append(fragment)
    begins.append(len(fragments.positions))
    return begins


def _by_fragments(
    image: StoredImage, count: int, fragments: _Fragments, read: ReadBytes
) -> Sequence[int]:
    """Return the first fragment of each frame, without a table."""
    held = len(fragments.positions)
    if held == count:
        return range(count + 1)
    if count == 1:
        return (0, held)
    if held < count:
        raise Undecodable(message("there are fewer fragments than frames"))
    if image.transfer_syntax_uid == RLE_LOSSLESS or held > MAX_SCANNED_FRAGMENTS:
        raise Undecodable(message("nothing says where the frames begin"))
    ends = [n + 1 for n in range(held) if _ends_image(fragments, n, read)]
    if len(ends) == count and ends[-1] == held:
        return (0, *ends)
    begins = [n for n in range(held) if _begins_image(fragments, n, read)]
    if len(begins) == count and begins[0] == 0:
        return (*begins, held)
    raise Undecodable(message("nothing says where the frames begin"))


def _ends_image(fragments: _Fragments, number: int, read: ReadBytes) -> bool:
    length = fragments.lengths[number]
    size = min(END_BYTES, length)
    return END_OF_IMAGE in read(fragments.positions[number] + length - size, size)


def _begins_image(fragments: _Fragments, number: int, read: ReadBytes) -> bool:
    size = min(len(JP2_SIGNATURE), fragments.lengths[number])
    return read(fragments.positions[number], size).startswith(STARTS)
