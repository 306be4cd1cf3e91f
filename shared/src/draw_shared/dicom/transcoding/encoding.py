"""Encodings of elements, and the value representations that exist (PS3.5 7.1, A)."""

from array import array
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.data_set import BIG_FILE_META, leading_bytes, scanner_for
from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, IMPLICIT_LITTLE


@dataclass(frozen=True, slots=True)
class ElementEncoding:
    """Whether VRs are written, and the byte order."""

    explicit: bool
    big: bool = False
    tag: Struct = field(init=False, compare=False, repr=False)
    """Group and element."""
    short: Struct = field(init=False, compare=False, repr=False)
    """Group, element, VR, length in 16 bits."""
    long: Struct = field(init=False, compare=False, repr=False)
    """Group, element, VR, two reserved bytes, length in 32 bits."""
    bare: Struct = field(init=False, compare=False, repr=False)
    """Group, element, length in 32 bits: no VR."""
    unsigned: Struct = field(init=False, compare=False, repr=False)
    """One US value."""

    def __post_init__(self) -> None:
        order = ">" if self.big else "<"
        for name, form in _FORMS.items():
            object.__setattr__(self, name, Struct(order + form))


_FORMS: Final = {
    "tag": "HH", "short": "HH2sH", "long": "HH2s2xI", "bare": "HHI", "unsigned": "H"
}  # fmt: skip


IMPLICIT: Final = ElementEncoding(explicit=False)
EXPLICIT: Final = ElementEncoding(explicit=True)
BIG: Final = ElementEncoding(explicit=True, big=True)

MAX_SHORT_LENGTH: Final = 0xFFFE
"""Longest value whose length has 16 bits; longer ones are written as UN (PS3.5 6.2.2)."""

_WIDTHS: Final = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), "H"),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), "I"),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), "Q"),
}
"""VRs whose numbers follow the byte order of the transfer syntax (PS3.5 7.3), by width."""


def encoding_of(transfer_syntax_uid: str) -> ElementEncoding:
    """Return the encoding of elements in a transfer syntax, apart from deflation."""
    if transfer_syntax_uid == IMPLICIT_LITTLE:
        return IMPLICIT
    return BIG if transfer_syntax_uid == EXPLICIT_BIG else EXPLICIT


class AsWritten(NamedTuple):
    """The real encoding of a data set; some devices use another than negotiated."""

    encoding: ElementEncoding
    leading: int = 0
    """Length of the remains of groups 0000 and 0002 in front of it, bytes."""
    leading_encoding: ElementEncoding = EXPLICIT


def as_written(head: bytes, transfer_syntax_uid: str) -> AsWritten:
    """Return the real encoding of a data set that begins with `head`, as every reader sees it."""
    leading = leading_bytes(head)
    scanner = scanner_for(transfer_syntax_uid, head[leading:])
    return AsWritten(
        ElementEncoding(scanner.explicit, scanner.big_endian),
        leading,
        BIG if head[:2] == BIG_FILE_META else EXPLICIT,
    )


def swap_bytes(part: bytes, vr: bytes) -> bytes:
    """Return numbers in the other byte order; an incomplete last one is unchanged."""
    width = _WIDTHS.get(vr)
    if width is None:
        return part
    numbers = array(width)
    whole = len(part) - len(part) % numbers.itemsize
    numbers.frombytes(part[:whole])
    numbers.byteswap()
    return numbers.tobytes() + part[whole:]
