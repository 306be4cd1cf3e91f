"""Reads element headers of one encoding, including those in another form (PS3.5 7.1)."""

from struct import Struct
from typing import Final

from draw_shared.dicom.encoding.element_forms import DELIMITERS, ElementForms, seems_long
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, LONG_VRS, SHORT_VRS
from draw_shared.dicom.encoding.walk import Undecodable, Walk
from draw_shared.wording import message

LAST_TAG: Final = 0xFFFCFFFC
"""Data Set Trailing Padding; no element follows it (PS3.5 7.2)."""
MAX_ELEMENTS: Final = 1_000_000
"""At all levels together; this bounds the processor time to about a second."""
MIN_LETTERS: Final = int.from_bytes(b"AA", "little")
"""Implicit lengths below this cannot begin with a VR."""


class ElementHeaders:
    """The headers of one encoding; create one per encoding and use it for many data sets."""

    def __init__(self, *, explicit: bool, big_endian: bool = False) -> None:
        order = ">" if big_endian else "<"
        self.explicit, self.big_endian = explicit, big_endian
        self.item_header = Struct(f"{order}HHI")
        self._explicit_header = Struct(f"{order}HH2sH")
        self._long_length = Struct(f"{order}I")
        self._order = order
        self._forms = ElementForms(explicit=explicit, big_endian=big_endian)

    def header(self, data: bytes | memoryview, at: int, walk: Walk) -> tuple[int, bytes, int, int]:
        """Return (tag, known VR or none, length, where the value starts)."""
        walk.count += 1
        if walk.count > MAX_ELEMENTS:
            raise Undecodable(message("too many elements"))
        if self.explicit:
            group, element, vr, length = self._explicit_header.unpack_from(data, at)
            walk.tag = tag = group << 16 | element
            if vr in SHORT_VRS and group != DELIMITERS and (length or not seems_long(data, at)):
                return tag, vr, length, at + 8
            if vr in LONG_VRS and not length and group != DELIMITERS:
                return tag, vr, self._long_length.unpack_from(data, at + 8)[0], at + 12
            if group == DELIMITERS:
                return tag, b"", self._long_length.unpack_from(data, at + 4)[0], at + 8
        else:
            group, element, length = self.item_header.unpack_from(data, at)
            walk.tag = tag = group << 16 | element
            if (length < MIN_LETTERS or bytes(data[at + 4 : at + 6]) not in KNOWN_VRS) and (
                tag <= LAST_TAG or group == DELIMITERS
            ):
                return tag, b"", length, at + 8
        return self._odd_header(data, at, tag, walk)

    def _odd_header(
        self, data: bytes | memoryview, at: int, tag: int, walk: Walk
    ) -> tuple[int, bytes, int, int]:
        form = self._forms.of(data, at, end=len(data) if walk.whole else None)
        if form is None:
            raise Undecodable(message("an element header cannot be read"))
        vr = bytes(data[at + 4 : at + 6]) if form.explicit else b""
        if form.explicit and vr not in KNOWN_VRS:
            walk.flaws.add(Flaw.UNKNOWN_VR, tag)
            vr = b""
        elif form.explicit != self.explicit or (vr and (vr in SHORT_VRS) != form.short):
            walk.flaws.add(Flaw.FORM, tag)
        return tag, vr, form.length, form.start
