"""Which form an element header has that the encoding does not explain (PS3.5 7.1).

In explicit VR, devices write elements without a VR, with one that nobody knows, or the long
form of one that has the short form. What follows tells: of the forms that an element can
have, the right one ends where the next element begins. Future VRs have the long form
(PS3.5 7.1.2); where nothing tells, other unknown ones have the short form, as in DCMTK.
"""

from struct import Struct
from typing import Final, NamedTuple

from draw_shared.dicom import dictionary
from draw_shared.dicom.vrs import KNOWN_VRS, LONG_VRS

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
DELIMITERS: Final = 0xFFFE
"""The group of items and delimiters, which have no VR (PS3.5 7.5)."""
HEADER_BYTES: Final = 8
FIRST_GROUP: Final = 0x0008
LAST_GROUP: Final = 0xFFFC

SOUGHT_AT_ONCE: Final = 4096
SEQUENCE_END_BYTES: Final = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")

# How well what follows fits.
CERTAIN: Final = 3
LIKELY: Final = 2
POSSIBLE: Final = 1
BEYOND: Final = -1
"""It ends behind what there is."""


class Form(NamedTuple):
    """Where an element's value starts and how long it is, in one of the possible forms."""

    start: int
    length: int
    explicit: bool
    short: bool
    """Whether the header has eight bytes."""


class ElementForms:
    """Tells the forms of element headers in one byte order."""

    def __init__(self, *, explicit: bool, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self._explicit = explicit
        self._tag = Struct(f"{order}HH")
        self._short = Struct(f"{order}H")
        self._long = Struct(f"{order}I")

    def of(self, data: bytes | memoryview, at: int, *, whole: bool) -> Form | None:
        """Return the form of the element at `at`, or None when it fits in none.

        With `whole` false, `data` is only the beginning of the data set.

        Raises:
            IndexError: `data` is only the beginning, and too short to tell.
        """
        tag = self._tag_at(data, at)
        vr = bytes(data[at + 4 : at + 6])
        best, most, beyond = None, 0, False
        for form in self._candidates(data, at, vr):
            fit = self._fit(data, form, tag, vr, whole=whole)
            if fit == CERTAIN:
                return form
            beyond = beyond or fit == BEYOND
            if fit > most:
                best, most = form, fit
        if beyond and not whole:
            raise IndexError(at)
        return best

    def _candidates(self, data: bytes | memoryview, at: int, vr: bytes) -> list[Form]:
        """Return the possible forms, the likeliest first."""
        short = Form(at + 8, self._short.unpack_from(data, at + 6)[0], explicit=True, short=True)
        bare = Form(at + 8, self._long.unpack_from(data, at + 4)[0], explicit=False, short=True)
        forms = [short]
        if at + 12 <= len(data):
            length = self._long.unpack_from(data, at + 8)[0]
            long = Form(at + 12, length, explicit=True, short=False)
            future = vr.isalpha() and vr.isupper() and vr not in KNOWN_VRS
            forms = [long, short] if future or vr in LONG_VRS else [short, long]
        printable = vr.isascii() and vr.decode("ascii").isprintable()
        return [*forms, bare] if self._explicit and printable else [bare, *forms]

    def _fit(
        self, data: bytes | memoryview, form: Form, tag: int, vr: bytes, *, whole: bool
    ) -> int:
        """Return how well what lies behind a value fits there."""
        if form.length == UNDEFINED:
            if form.start + HEADER_BYTES > len(data):
                return BEYOND
            return CERTAIN if self._tag_at(data, form.start) in {ITEM, SEQUENCE_END} else 0
        at = form.start + form.length
        if at == len(data):
            return CERTAIN if whole else BEYOND
        if at + HEADER_BYTES > len(data):
            return BEYOND
        return self._next_fit(data, at, tag, vr)

    def _next_fit(self, data: bytes | memoryview, at: int, tag: int, vr: bytes) -> int:
        following = self._tag_at(data, at)
        group = following >> 16
        if group == DELIMITERS:
            return CERTAIN if following in {ITEM, ITEM_END, SEQUENCE_END} else 0
        if not FIRST_GROUP <= group <= LAST_GROUP:
            return 0
        next_vr = bytes(data[at + 4 : at + 6])
        if next_vr in KNOWN_VRS:
            return CERTAIN if following > tag else LIKELY
        if following <= tag:
            return 0
        return self._bare_fit(data, at, following, like=next_vr == vr)

    def _bare_fit(self, data: bytes | memoryview, at: int, tag: int, *, like: bool) -> int:
        """Return how well an element without a known VR fits, one that looks `like` the other."""
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


def delimited(data: bytes | memoryview, at: int, *, big_endian: bool) -> tuple[int, int]:
    """Return where a value of undefined length that has no items ends, and what follows.

    Raises:
        IndexError: its delimiter is missing.
    """
    sought = SEQUENCE_END_BYTES[big_endian]
    # In pieces: one search for each value would otherwise copy all that follows each time.
    for begin in range(at, len(data), SOUGHT_AT_ONCE):
        place = bytes(data[begin : begin + SOUGHT_AT_ONCE + HEADER_BYTES - 1]).find(sought)
        if place >= 0:
            return begin + place, begin + place + HEADER_BYTES
    raise IndexError(at)
