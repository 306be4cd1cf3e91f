"""Finds the end of nested structures: sequences, items, encapsulated values (PS3.5 7.5, A.4).

Delimiters may be missing or duplicated. It does not recurse, whatever the data contains.
"""

from typing import Final

from draw_shared.dicom.encoding.element_forms import (
    HEADER_BYTES,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    find_delimiter,
    is_sequence,
)
from draw_shared.dicom.encoding.element_headers import MAX_ELEMENTS, ElementHeaders
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.encoding.item_ends import LOOKAHEAD_BYTES, ends_item_around
from draw_shared.dicom.encoding.walk import Undecodable, Walk
from draw_shared.wording import message

MAX_DEPTH: Final = 256
LOOK_COUNTS: Final = 64
OTHER_ITEM: Final = (b"\xff\xfe\xe0\x00", b"\xfe\xff\x00\xe0")
"""The tag of an item in the other byte order, for little and big endian."""

_IMPLICIT: Final = ElementHeaders(explicit=False)
_EXPLICIT: Final = ElementHeaders(explicit=True)
_BIG: Final = ElementHeaders(explicit=True, big_endian=True)


def past_items(  # noqa: C901, PLR0912, PLR0915 - one machine: what stands there decides
    around: ElementHeaders,
    data: bytes | memoryview,
    at: int,
    walk: Walk,
    *,
    vr: bytes = b"SQ",
    in_item: bool = False,
) -> tuple[int, int]:
    """Return (where the next element starts, where the items end) of a sequence at `at`.

    With `in_item`, `at` is inside an item, and the result is the end of that item.
    """
    single = in_item
    nested = [around if in_item else _inside(around, vr)]
    tag, fresh = walk.tag, not in_item
    while True:
        headers = nested[-1]
        if in_item:
            if single and at == len(data) and len(nested) == 1:
                # The delimiter of the item is missing, and that of its sequence is too.
                return at, at
            tag, vr, length, start = headers.header(data, at, walk)
            if tag in {ITEM, SEQUENCE_END, ITEM_END}:
                in_item = False
                stop = at
                if tag == ITEM_END:
                    at = start
                else:
                    walk.flaws.add(Flaw.ITEM_END_MISSING, tag)
                if single and len(nested) == 1:
                    return at, stop
            elif length != UNDEFINED:
                at = start + length
                if at > len(data):
                    raise IndexError(at)
            else:
                if tag != PIXEL_DATA and not is_sequence(data, start, vr):
                    walk.flaws.add(Flaw.NO_SEQUENCE, tag)
                nested.append(_inside(headers, vr))
                if len(nested) > MAX_DEPTH:
                    raise Undecodable(message("sequences are nested too deeply"))
                at, in_item, fresh = start, False, True
            continue
        walk.count += 1
        if walk.count > MAX_ELEMENTS:
            raise Undecodable(message("too many items"))
        group, element, length = headers.item_header.unpack_from(data, at)
        tag = group << 16 | element
        stop = at
        if tag == ITEM and length != UNDEFINED:
            at += HEADER_BYTES + length
            if at > len(data):
                raise IndexError(at)
        elif tag == ITEM:
            at += HEADER_BYTES
            in_item = True
        elif tag == ITEM_END and not _ends_around(headers, data, at, len(nested) - 1, walk):
            walk.flaws.add(Flaw.STRAY_DELIMITER, tag)
            at += HEADER_BYTES
        elif fresh and (other := _other_order(headers, data, at)) is not None:
            walk.flaws.add(Flaw.FORM, tag)
            nested[-1] = other
        else:
            if tag == SEQUENCE_END:
                at += HEADER_BYTES
            elif fresh and vr != b"SQ" and tag != ITEM_END:
                stop, at = find_delimiter(data, at, big_endian=headers.big_endian)
            else:
                walk.flaws.add(Flaw.SEQUENCE_END_MISSING, tag)
            nested.pop()
            if not nested:
                return at, stop
            in_item = True
        fresh = False


def _inside(headers: ElementHeaders, vr: bytes) -> ElementHeaders:
    """Return the encoding of a sequence's items."""
    # Unknown sequences contain implicit VR little endian (PS3.5 6.2.2, note 2).
    return _IMPLICIT if vr == b"UN" else headers


def _ends_around(
    headers: ElementHeaders, data: bytes | memoryview, at: int, open_items: int, walk: Walk
) -> bool:
    """Return whether the item end at `at`, outside every item, ends the surrounding item.

    Raises:
        IndexError: `data` is too short to decide.
    """
    if not open_items:
        return False
    at += HEADER_BYTES
    if at + LOOKAHEAD_BYTES > len(data) and not walk.whole:
        raise IndexError(at)
    # This search takes the time of so many elements at most; counting bounds its repetition.
    walk.count += LOOK_COUNTS
    ahead = bytes(data[at : at + LOOKAHEAD_BYTES])
    return ends_item_around(ahead, open_items, big_endian=headers.big_endian)


def _other_order(
    headers: ElementHeaders, data: bytes | memoryview, at: int
) -> ElementHeaders | None:
    """Return the encoding of items in the other byte order, which is explicit; else None."""
    if bytes(data[at : at + 4]) == OTHER_ITEM[headers.big_endian]:
        return _EXPLICIT if headers.big_endian else _BIG
    return None
