"""Reads selected elements of a data set within bounds, without building it (PS3.5 7).

It serves the receive path and the index: they need a few values near the beginning of an object
that may be gigabytes long and may come from anybody. The scanner walks element headers, skips
what is not wanted, and stops at the first element after the last wanted one. No data makes it
read past the end, recurse, or allocate what a length merely claims.

Devices write data sets that violate PS3.5, and nobody can repair what they send. The scanner
continues wherever the beginning of the next element is certain, and records each such flaw:
elements out of order; duplicate elements (the first counts, as in DCMTK); headers in another form
(see `element_forms`); missing or stray delimiters; values of undefined length that are no
sequence; another encoding than negotiated. It stops where doubt begins, and reports that.
"""

from collections.abc import Iterator
from struct import error, unpack_from
from typing import Final

from draw_shared.dicom.encoding.element_forms import (
    HEADER_BYTES,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    ElementForm,
    is_sequence,
    seems_long,
)
from draw_shared.dicom.encoding.element_headers import (
    LAST_TAG,
    MAX_ELEMENTS,
    MIN_LETTERS,
    ElementHeaders,
)
from draw_shared.dicom.encoding.flaws import Flaw, Flaws
from draw_shared.dicom.encoding.nesting import past_items
from draw_shared.dicom.encoding.vrs import SHORT_VRS
from draw_shared.dicom.encoding.walk import Gathered, Span, Undecodable, Walk, WalkEnd
from draw_shared.wording import message

MAX_VALUE_BYTES: Final = 1024 * 1024


class Scanner(ElementHeaders):
    """Walks one encoding; create one per transfer syntax and use it for many data sets."""

    def gather(
        self,
        data: bytes | memoryview,
        wanted: frozenset[int],
        *,
        last: int,
        required: frozenset[int] = frozenset(),
        whole: bool = True,
    ) -> Gathered:
        """Return the raw values of the wanted top-level elements with tags up to `last`.

        Required elements are searched for beyond `last` too. A wanted sequence is returned as the
        bytes of its items (see `items`). With `whole` false, `data` is only the beginning of the
        data set; if it is too short, the ending is CUT or ENDED.
        """
        walk = Walk(whole=whole)
        found: dict[int, bytes] = {}
        try:
            passed = self._walk(data, wanted, last, required, found, walk)
        except (error, IndexError):
            walk.flaws.add(Flaw.CUT_SHORT, walk.tag)
            return Gathered(found, WalkEnd.CUT, walk.flaws, walk.tag)
        except Undecodable:
            walk.flaws.add(Flaw.UNREADABLE, walk.tag)
            return Gathered(found, WalkEnd.DAMAGED, walk.flaws, walk.tag)
        return Gathered(found, WalkEnd.PASSED if passed else WalkEnd.ENDED, walk.flaws, walk.tag)

    def _walk(  # noqa: C901, PLR0912, PLR0915 - fast: it runs for each object received
        self,
        data: bytes | memoryview,
        wanted: frozenset[int],
        last: int,
        required: frozenset[int],
        found: dict[int, bytes],
        walk: Walk,
    ) -> bool:
        """Fill `found`; return whether an element after `last` was met."""
        at, end, before = 0, len(data), -1
        explicit, unpack = self.explicit, self._explicit_header.unpack_from
        unpack_implicit = self.item_header.unpack_from
        for _ in range(MAX_ELEMENTS):
            if at >= end:
                return False
            if explicit:
                # Nearly all elements are of this kind, so no function is called for them.
                group, element, vr, length = unpack(data, at)
                if vr in SHORT_VRS and (length or not seems_long(data, at)):
                    tag, start = group << 16 | element, at + 8
                elif not group | element and self._is_padding(data, at, walk):
                    return False
                else:
                    tag, vr, length, start = self.header(data, at, walk)
            else:
                group, element, length = unpack_implicit(data, at)
                if length < MIN_LETTERS:
                    tag, vr, start = group << 16 | element, b"", at + 8
                else:
                    tag, vr, length, start = self.header(data, at, walk)
            if tag > last:
                if tag > LAST_TAG:
                    at = self._past_stray(data, at, walk)
                    continue
                if required <= found.keys():
                    return True
            if tag <= before:
                if tag == 0 and self._is_padding(data, at, walk):
                    return False
                walk.flaws.add(Flaw.TWICE if tag == before or tag in found else Flaw.ORDER, tag)
            else:
                before = tag
            if length == UNDEFINED:
                at, stop = self._past_undefined(data, start, vr, walk)
            else:
                at = stop = start + length
            if at > end:
                walk.tag = tag
                raise IndexError(at)
            if tag in wanted and tag not in found:
                if stop - start <= MAX_VALUE_BYTES:
                    found[tag] = bytes(data[start:stop])
                else:
                    walk.flaws.add(Flaw.TOO_LONG, tag)
        raise Undecodable(message("too many elements"))

    def _past_stray(self, data: bytes | memoryview, at: int, walk: Walk) -> int:
        """Return where the data set continues after a stray delimiter or item."""
        tag, _, length, start = self.header(data, at, walk)
        if tag not in {ITEM, ITEM_END, SEQUENCE_END}:
            raise Undecodable(message("a delimiter that there is none of"))
        walk.flaws.add(Flaw.STRAY_DELIMITER, tag)
        if tag != ITEM:
            return start
        if length == UNDEFINED:
            return past_items(self, data, start, walk, in_item=True)[0]
        if start + length > len(data):
            raise IndexError(start)
        return start + length

    def _is_padding(self, data: bytes | memoryview, at: int, walk: Walk) -> bool:
        """Return whether only zeros follow; checked once, as it takes time."""
        if walk.looked_for_padding:
            return False
        walk.looked_for_padding = True
        if bytes(data[at:]).lstrip(b"\0"):
            return False
        if not walk.whole:
            raise IndexError(at)
        walk.flaws.add(Flaw.PADDING, 0)
        return True

    def _past_undefined(
        self, data: bytes | memoryview, start: int, vr: bytes, walk: Walk
    ) -> tuple[int, int]:
        """Return (where the next element starts, where the items end)."""
        if walk.tag != PIXEL_DATA and not is_sequence(data, start, vr):
            walk.flaws.add(Flaw.NO_SEQUENCE, walk.tag)
        return past_items(self, data, start, walk, vr=vr)

    def items(self, raw: bytes, wanted: frozenset[int]) -> Iterator[dict[int, bytes]]:
        """Yield the wanted values of each item of a sequence that `gather` returned.

        Raises:
            Undecodable: the items are malformed.
        """
        for item in self.each_item(raw):
            gathered = self.gather(item, wanted, last=max(wanted))
            if gathered.ending in {WalkEnd.CUT, WalkEnd.DAMAGED}:
                raise Undecodable(message("an item overruns its sequence"))
            yield gathered.values

    def each_item(self, raw: bytes) -> Iterator[bytes]:
        """Yield the data set of each item of a sequence that `gather` or `elements` returned.

        Raises:
            Undecodable: the items are malformed.
        """
        at, walk = 0, Walk(whole=True)
        while at < len(raw):
            try:
                tag, _, length, start = self.header(raw, at, walk)
                if tag == SEQUENCE_END:
                    return
                if tag != ITEM:
                    raise Undecodable(message("a sequence holds something else than items"))
                if length == UNDEFINED:
                    at, stop = past_items(self, raw, start, walk, in_item=True)
                else:
                    at = stop = start + length
            except (error, IndexError) as cut:
                raise Undecodable(message("an item overruns its sequence")) from cut
            yield raw[start:stop]

    def elements(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (tag, VR, raw value) of every element; in implicit VR the VR is empty.

        Raises:
            Undecodable: this is not a data set in this encoding, or it exceeds a bound.
        """
        for tag, vr, start, stop, *_ in self.spans(data):
            if stop - start > MAX_VALUE_BYTES:
                raise Undecodable(message("a value is longer than any of its kind may be"))
            yield tag, vr, bytes(data[start:stop])

    def spans(self, data: bytes | memoryview) -> Iterator[Span]:
        """Yield the position of each element, in the order of the data set.

        Raises:
            Undecodable: the rest cannot be read.
        """
        at, walk = 0, Walk(whole=True)
        while at < len(data):
            walk.flaws = Flaws()
            try:
                tag, vr, length, start = self.header(data, at, walk)
                if tag > LAST_TAG:
                    at = self._past_stray(data, at, walk)
                    continue
                if length == UNDEFINED:
                    at, stop = self._past_undefined(data, start, vr, walk)
                else:
                    at = stop = start + length
            except (error, IndexError) as cut:
                raise Undecodable(message("an element overruns the data set")) from cut
            if at > len(data):
                raise Undecodable(message("an element overruns the data set"))
            yield Span(tag, vr, start, stop, at, bool(walk.flaws))

    def first_tag(self, data: bytes | memoryview) -> int:
        """Return the tag of the first element, or 0 if there is none."""
        if len(data) < HEADER_BYTES:
            return 0
        group, element, _ = self.item_header.unpack_from(data)
        tag: int = group << 16 | element
        return tag

    def first_form(self, data: bytes | memoryview) -> ElementForm | None:
        """Return the form of the first element, or None if it has no possible one.

        Raises:
            IndexError: `data` is too short to decide.
        """
        return self._forms.of(data, 0, end=None)

    def numbers(self, raw: bytes) -> tuple[int, ...]:
        """Return the US values in `raw` (Rows, Columns, BitsAllocated)."""
        return unpack_from(f"{self._order}{len(raw) // 2}H", raw)


IMPLICIT: Final = Scanner(explicit=False)
EXPLICIT: Final = Scanner(explicit=True)
BIG: Final = Scanner(explicit=True, big_endian=True)
