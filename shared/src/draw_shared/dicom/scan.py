"""Reads chosen elements of a data set within bounds, without building it (PS3.5 7).

For the receive path and the index: a few values near the beginning of an object that may
be gigabytes long and may come from anybody. The scanner walks element headers, skips
what nobody asked for, and stops at the first element behind the last one wanted. Nothing
in the data makes it read past the end, recurse without bound or allocate by a claim.
"""

import zlib
from collections.abc import Iterator
from enum import Enum
from struct import Struct, error, unpack_from
from typing import Final

from draw_shared.dicom.uids import DEFLATED_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE
from draw_shared.errors import Permanent

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
DELIMITERS: Final = 0xFFFE
"""The group of items and delimiters, which have no VR (PS3.5 7.5)."""
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
)
KNOWN_VRS: Final = LONG_VRS | SHORT_VRS

DEEPEST: Final = 32
MOST_ELEMENTS: Final = 100_000
LONGEST_VALUE: Final = 1024 * 1024
LONGEST_INFLATED: Final = 4 * 1024 * 1024


class Undecodable(Permanent):
    """The data set cannot be read as its transfer syntax says."""


class NeedMore(Exception):
    """The buffer ends before the last element wanted; the data set may go on."""


class Ending(Enum):
    """Why a data set was read no further."""

    PASSED = "every element that was wanted has been passed"
    ENDED = "there was no more"
    CUT = "an element claims more than there was"
    DAMAGED = "what follows is no data set in this encoding"


class Scanner:
    """Walks one encoding; build one per transfer syntax and use it for many data sets."""

    def __init__(self, *, explicit: bool, big_endian: bool = False) -> None:
        order = ">" if big_endian else "<"
        self._explicit = explicit
        self._tag = Struct(f"{order}HH")
        self._implicit_header = Struct(f"{order}HHI")
        self._explicit_header = Struct(f"{order}HH2sH")
        self._long_length = Struct(f"{order}I")
        self._order = order

    def scan(
        self, data: bytes | memoryview, wanted: frozenset[int], *, last: int, whole: bool = True
    ) -> dict[int, bytes]:
        """Return the raw values of the wanted top-level elements with tags up to `last`.

        A wanted sequence is returned as the bytes of its items (see `items`). With
        `whole` false, `data` is only the beginning of the data set.

        Raises:
            Undecodable: this is not a data set in this encoding, or it exceeds a bound.
            NeedMore: `data` was only the beginning, and too short.
        """
        found: dict[int, bytes] = {}
        try:
            self._walk(data, wanted, last, found)
        except (error, IndexError, _Overrun) as cut:
            if whole:
                raise Undecodable("an element overruns the data set") from cut
            raise NeedMore from cut
        return found

    def gather(
        self, data: bytes | memoryview, wanted: frozenset[int], *, last: int
    ) -> tuple[dict[int, bytes], Ending]:
        """Return what `scan` would, as far as `data` can be read, and why it ended there."""
        found: dict[int, bytes] = {}
        try:
            passed = self._walk(data, wanted, last, found)
        except (error, IndexError, _Overrun):
            return found, Ending.CUT
        except Undecodable:
            return found, Ending.DAMAGED
        return found, Ending.PASSED if passed else Ending.ENDED

    def _walk(
        self,
        data: bytes | memoryview,
        wanted: frozenset[int],
        last: int,
        found: dict[int, bytes],
    ) -> bool:
        """Fill `found`; return whether an element behind `last` was met."""
        at, end, count, before = 0, len(data), 0, -1
        while at < end:
            tag, vr, length, start = self._header(data, at)
            if tag > last:
                return True
            count += 1
            if tag <= before or count > MOST_ELEMENTS:
                raise Undecodable("elements are not in ascending order, or too many")
            before = tag
            if length == UNDEFINED:
                at, stop = self._past_undefined(data, start, vr)
            else:
                at = stop = start + length
            if at > end:
                raise _Overrun
            if tag in wanted:
                found[tag] = _bounded(data[start:stop])
        return False

    def _header(self, data: bytes | memoryview, at: int) -> tuple[int, bytes, int, int]:
        """Return (tag, VR, length, where the value starts)."""
        if not self._explicit:
            group, element, length = self._implicit_header.unpack_from(data, at)
            return group << 16 | element, b"", length, at + 8
        group, element, vr, length = self._explicit_header.unpack_from(data, at)
        tag = group << 16 | element
        if vr in SHORT_VRS and group != DELIMITERS:
            return tag, vr, length, at + 8
        if group == DELIMITERS:
            return tag, b"", self._long_length.unpack_from(data, at + 4)[0], at + 8
        if vr in LONG_VRS:
            return tag, vr, self._long_length.unpack_from(data, at + 8)[0], at + 12
        raise Undecodable("an element has no known value representation")

    def _past_undefined(
        self, data: bytes | memoryview, start: int, vr: bytes, depth: int = 0
    ) -> tuple[int, int]:
        """Return (where the next element starts, where the items end)."""
        if vr not in {b"", b"SQ", b"UN"}:
            raise Undecodable("only a sequence may have undefined length")
        # Unknown sequences are implicit VR little endian inside (PS3.5 6.2.2, note 2).
        walker = _UNKNOWN if vr == b"UN" else self
        return walker.past_items(data, start, depth)

    def past_items(self, data: bytes | memoryview, at: int, depth: int) -> tuple[int, int]:
        """Return (where the next element starts, where the items end) of a sequence at `at`."""
        if depth > DEEPEST:
            raise Undecodable("sequences are nested too deeply")
        count = 0
        while True:
            tag, _, length, start = self._header(data, at)
            if tag == SEQUENCE_END:
                return start, at
            if tag != ITEM:
                raise Undecodable("a sequence holds something else than items")
            count += 1
            if count > MOST_ELEMENTS:
                raise Undecodable("too many items")
            at = self._item_end(data, start, depth) if length == UNDEFINED else start + length
            if at > len(data):
                raise _Overrun

    def _item_end(self, data: bytes | memoryview, at: int, depth: int) -> int:
        count = 0
        while True:
            tag, vr, length, start = self._header(data, at)
            if tag == ITEM_END:
                return start
            count += 1
            if count > MOST_ELEMENTS:
                raise Undecodable("too many elements")
            if length == UNDEFINED:
                at, _ = self._past_undefined(data, start, vr, depth + 1)
            else:
                at = start + length

    def items(self, raw: bytes, wanted: frozenset[int]) -> Iterator[dict[int, bytes]]:
        """Yield the wanted values of each item of a sequence that `scan` returned.

        Raises:
            Undecodable: the items are malformed.
        """
        for item in self.each_item(raw):
            found: dict[int, bytes] = {}
            try:
                self._walk(item, wanted, max(wanted), found)
            except (error, IndexError, _Overrun) as cut:
                raise Undecodable("an item overruns its sequence") from cut
            yield found

    def each_item(self, raw: bytes) -> Iterator[bytes]:
        """Yield the data set of each item of a sequence that `scan` or `elements` returned.

        Raises:
            Undecodable: the items are malformed.
        """
        at = 0
        while at < len(raw):
            try:
                tag, _, length, start = self._header(raw, at)
                if tag == SEQUENCE_END:
                    return
                if tag != ITEM:
                    raise Undecodable("a sequence holds something else than items")
                if length == UNDEFINED:
                    at = self._item_end(raw, start, 0)
                    stop = at - 8
                else:
                    at = stop = start + length
            except (error, IndexError, _Overrun) as cut:
                raise Undecodable("an item overruns its sequence") from cut
            yield raw[start:stop]

    def elements(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (tag, VR, raw value) of every element; in implicit VR the VR is empty.

        Raises:
            Undecodable: this is not a data set in this encoding, or it exceeds a bound.
        """
        at, count = 0, 0
        while at < len(data):
            try:
                tag, vr, length, start = self._header(data, at)
                if length == UNDEFINED:
                    at, stop = self._past_undefined(data, start, vr)
                else:
                    at = stop = start + length
            except (error, IndexError, _Overrun) as cut:
                raise Undecodable("an element overruns the data set") from cut
            count += 1
            if at > len(data) or count > MOST_ELEMENTS:
                raise Undecodable("an element overruns the data set, or there are too many")
            yield tag, vr, _bounded(data[start:stop])

    def numbers(self, raw: bytes) -> tuple[int, ...]:
        """Return the US values in `raw` (Rows, Columns, BitsAllocated)."""
        return unpack_from(f"{self._order}{len(raw) // 2}H", raw)


def _bounded(value: bytes | memoryview) -> bytes:
    if len(value) > LONGEST_VALUE:
        raise Undecodable("a value is longer than any of its kind may be")
    return bytes(value)


class _Overrun(Exception):
    """An element claims more than there is."""


_IMPLICIT: Final = Scanner(explicit=False)
_UNKNOWN: Final = _IMPLICIT
_EXPLICIT: Final = Scanner(explicit=True)
_BIG: Final = Scanner(explicit=True, big_endian=True)


def scanner_for(transfer_syntax_uid: str, data: bytes | memoryview = b"") -> Scanner:
    """Return the scanner of a transfer syntax; encapsulated ones are explicit little endian.

    Some senders write implicit VR under an explicit syntax; `data`, if given, decides.
    """
    if transfer_syntax_uid == IMPLICIT_LITTLE:
        return _IMPLICIT
    if transfer_syntax_uid == EXPLICIT_BIG:
        return _BIG
    if len(data) >= 8 and bytes(data[4:6]) not in KNOWN_VRS:  # noqa: PLR2004 - one header
        return _IMPLICIT
    return _EXPLICIT


def beginning(data: bytes | memoryview, transfer_syntax_uid: str) -> bytes | memoryview:
    """Return `data`, or for a deflated data set as much of it inflated as any header needs.

    Raises:
        Undecodable: it does not inflate.
    """
    if transfer_syntax_uid != DEFLATED_LITTLE:
        return data
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, LONGEST_INFLATED)
    except zlib.error as broken:
        raise Undecodable("the deflated data set is damaged") from broken
