"""Determines the form of an element header that its encoding does not explain (PS3.5 7.1).

In explicit VR, devices write elements without a VR, with an unknown one, or with the long form of
a VR that has the short form. What follows decides: the right form is the one that ends where the
next element begins. Future VRs have the long form (PS3.5 7.1.2). If nothing decides, other unknown
VRs have the short form, as in DCMTK.
"""

from struct import Struct
from typing import Final, Literal, NamedTuple

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, LONG_VRS, SHORT_VRS

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
DELIMITERS: Final = 0xFFFE
"""The group of items and delimiters, which have no VR (PS3.5 7.5)."""
HEADER_BYTES: Final = 8
LONG_HEADER_BYTES: Final = 12
FIRST_GROUP: Final = 0x0008
LAST_GROUP: Final = 0xFFFC
ITEM_BYTES: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of an item in little and in big endian."""
SEQUENCE_BYTES: Final = frozenset(ITEM_BYTES) | {b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\xdd"}
"""The beginning of a value of undefined length, in both byte orders."""

SEQUENCE_VRS: Final = frozenset((b"", b"SQ", b"UN"))
LOOKAHEAD_BYTES: Final = 1024
SOUGHT_AT_ONCE: Final = 4096
SEQUENCE_END_BYTES: Final = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")

# How well the following bytes fit.
CERTAIN: Final = 3
LIKELY: Final = 2
POSSIBLE: Final = 1
BEYOND: Final = -1
"""It ends after the available data."""


class ElementForm(NamedTuple):
    """Where an element's value starts and how long it is, in one of the possible forms."""

    start: int
    length: int
    explicit: bool
    short: bool
    """Whether the header has eight bytes."""


class ElementForms:
    """Determines the forms of element headers in one byte order."""

    def __init__(self, *, explicit: bool, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self._explicit = explicit
        self._tag = Struct(f"{order}HH")
        self._short = Struct(f"{order}H")
        self._long = Struct(f"{order}I")

    def of(
        self, data: bytes | memoryview, at: int, *, end: int | None, far: bool = False
    ) -> ElementForm | None:
        """Return the form of the element at `at`, or None if it has no possible one.

        The element ends at `end` at the latest; None if that is unknown. If `data` is shorter, more
        of it may be needed, unless `far` says that there is no more; then a form that reaches
        beyond it is chosen if no other fits better.

        Raises:
            IndexError: `data` is too short to decide.
        """
        tag = self._tag_at(data, at)
        vr = bytes(data[at + 4 : at + 6])
        best, most, beyond = None, 0, None
        for form in self._candidates(data, at, vr):
            fit = self._fit(data, form, tag, vr, end)
            if fit == CERTAIN:
                return form
            if fit == BEYOND:
                beyond = beyond or form
            elif fit > most:
                best, most = form, fit
        if beyond is not None and not far:
            raise IndexError(at)
        regular = self._explicit and vr in SHORT_VRS
        return best or beyond or (self._candidates(data, at, vr)[0] if regular else None)

    def _candidates(self, data: bytes | memoryview, at: int, vr: bytes) -> list[ElementForm]:
        """Return the possible forms, the likeliest first."""
        short = ElementForm(
            at + 8, self._short.unpack_from(data, at + 6)[0], explicit=True, short=True
        )
        bare = ElementForm(
            at + 8, self._long.unpack_from(data, at + 4)[0], explicit=False, short=True
        )
        forms = [short]
        if at + 12 <= len(data):
            length = self._long.unpack_from(data, at + 8)[0]
            long = ElementForm(at + 12, length, explicit=True, short=False)
            future = vr.isalpha() and vr.isupper() and vr not in KNOWN_VRS
            forms = [long, short] if future or vr in LONG_VRS else [short, long]
        printable = vr.isascii() and vr.decode("ascii").isprintable()
        return [*forms, bare] if self._explicit and printable else [bare, *forms]

    def _fit(
        self, data: bytes | memoryview, form: ElementForm, tag: int, vr: bytes, end: int | None
    ) -> int:
        """Return how well the bytes after a value fit as the next element."""
        undefined = form.length == UNDEFINED
        at = form.start if undefined else form.start + form.length
        if at == end and not undefined:
            return CERTAIN
        if end is not None and at + HEADER_BYTES > end:
            return 0
        if at + HEADER_BYTES > len(data):
            return BEYOND
        if undefined:
            return CERTAIN if bytes(data[at : at + 4]) in SEQUENCE_BYTES else 0
        return self._next_fit(data, at, tag, vr)

    def _next_fit(self, data: bytes | memoryview, at: int, tag: int, vr: bytes) -> int:
        following = self._tag_at(data, at)
        group = following >> 16
        if group == DELIMITERS:
            return CERTAIN if following in {ITEM, ITEM_END, SEQUENCE_END} else 0
        if not FIRST_GROUP <= group <= LAST_GROUP:
            # NULs after a data set.
            return 0 if any(data[at : at + HEADER_BYTES]) else POSSIBLE
        next_vr = bytes(data[at + 4 : at + 6])
        if next_vr in KNOWN_VRS:
            # Text after a length can look like the VR of a group length, which is UL.
            likely = following > tag and (following & 0xFFFF or next_vr == b"UL")
            return CERTAIN if likely else LIKELY
        if following <= tag:
            return 0
        return self._bare_fit(data, at, following, like=next_vr == vr)

    def _bare_fit(self, data: bytes | memoryview, at: int, tag: int, *, like: bool) -> int:
        """Return how well an element without a known VR fits; `like` means after one like it."""
        if like and self._explicit:
            return LIKELY
        length = self._long.unpack_from(data, at + 4)[0]
        if length != UNDEFINED and at + HEADER_BYTES + length > len(data):
            return 0
        if not (tag >> 16) % 2 and not dictionary.lists(tag):
            return 0
        return POSSIBLE if self._explicit else LIKELY

    def _tag_at(self, data: bytes | memoryview, at: int) -> int:
        group, element = self._tag.unpack_from(data, at)
        found: int = group << 16 | element
        return found


def is_regular(head: bytes | memoryview, at: int, *, explicit: bool) -> bool:
    """Return whether an element header has its encoding's form; delimiters never do."""
    vr = bytes(head[at + 4 : at + 6])
    if not explicit:
        return vr not in KNOWN_VRS
    if vr in SHORT_VRS:
        return any(head[at + 6 : at + 8]) or not seems_long(head, at)
    return vr in LONG_VRS and not any(head[at + 6 : at + 8])


def seems_long(data: bytes | memoryview, at: int) -> bool:
    """Return whether a header in the short form without a value may have the long form.

    A length of 32 bits below 64 KiB looks like the tag of a group length, or in big endian like a
    tag of group 0000.
    """
    low, high = bytes(data[at + 8 : at + 10]), bytes(data[at + 10 : at + LONG_HEADER_BYTES])
    return len(high) == 2 and not (any(low) and any(high))  # noqa: PLR2004 - it is all there


def is_sequence(data: bytes | memoryview, at: int, vr: bytes) -> bool:
    """Return whether a value of undefined length at `at` is a sequence; no VR means unknown."""
    if vr == b"UN":
        return not holds_fragments(data[at : at + LOOKAHEAD_BYTES])
    return vr in SEQUENCE_VRS


def holds_fragments(data: bytes | memoryview) -> bool:
    """Return whether the items at the beginning of `data` are fragments rather than data sets.

    Both have the same form (PS3.5 7.5, A.4); the content of the first non-empty item decides.
    """
    at = 0
    while (tag := bytes(data[at : at + 4])) in ITEM_BYTES and at + HEADER_BYTES <= len(data):
        order: Literal["big", "little"] = "big" if tag == ITEM_BYTES[1] else "little"
        length = int.from_bytes(data[at + 4 : at + 8], order)
        at += HEADER_BYTES
        if length:
            head = bytes(data[at : at + min(length, LONG_HEADER_BYTES)])
            return length != UNDEFINED and not _is_element(head, length, order)
    return False


def _is_element(head: bytes, most: int, order: Literal["big", "little"]) -> bool:
    """Return whether an element of at most `most` bytes could begin here, in any form."""
    if len(head) < HEADER_BYTES or not FIRST_GROUP <= int.from_bytes(head[:2], order) <= LAST_GROUP:
        return False
    lengths = [int.from_bytes(head[4:8], order)]
    if head[4:6].isalpha() and head[4:6].isupper():
        lengths += [int.from_bytes(head[6:8], order), int.from_bytes(head[8:], order)]
    return any(length in {0, UNDEFINED} or HEADER_BYTES + length <= most for length in lengths)


def find_delimiter(data: bytes | memoryview, at: int, *, big_endian: bool) -> tuple[int, int]:
    """Return where a value of undefined length without items ends, and where the next begins.

    Raises:
        IndexError: its delimiter is missing.
    """
    sought = SEQUENCE_END_BYTES[big_endian]
    # In pieces: otherwise the search for each value would copy everything that follows.
    for begin in range(at, len(data), SOUGHT_AT_ONCE):
        place = bytes(data[begin : begin + SOUGHT_AT_ONCE + HEADER_BYTES - 1]).find(sought)
        if place >= 0:
            return begin + place, begin + place + HEADER_BYTES
    raise IndexError(at)
