"""Encodes the value of one element in the DICOM JSON Model (PS3.18 F.2.2 to F.2.7)."""

import re
from base64 import b64encode
from collections.abc import Callable
from json.encoder import encode_basestring
from math import isfinite
from struct import calcsize, iter_unpack
from typing import Final

from draw_shared.dicom.encoding.characters import TEXT_VRS, CharacterSet
from draw_shared.dicom.transcoding.encoding import swap_bytes

BINARY_VRS: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"))
"""VRs whose values are InlineBinary or bulk data."""
WHOLE_VRS: Final = frozenset((b"LT", b"ST", b"UT", b"UR"))
"""VRs of text in which a backslash separates nothing (PS3.5 6.2)."""
OF_CHARACTER_SET: Final = frozenset(vr.encode() for vr in TEXT_VRS)
NUMBERS: Final = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d",
}  # fmt: skip
COMPONENT_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
MAX_NUMBER_DIGITS: Final = 400
"""Longer decimal strings stay strings: parsers take long for them, and none keeps them exact."""

_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_OTHER_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_USUAL_DECIMALS: Final = re.compile(
    rb"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]+)?(?:\\-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]+)?)*+"
)
"""Any number of decimal strings that JSON writes in the same way."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_NOT_FINITE: Final = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


def encode_value(vr: bytes, raw: bytes, characters: CharacterSet, *, big: bool = False) -> bytes:
    """Return the members of an element: its VR and, unless it is empty, its value.

    A number whose length does not fit its VR makes the value one of VR UN, as in pydicom. Values of
    sequences are not for this function.

    Args:
        vr: the one VR that the element has.
        raw: the value as it is in the data set.
        characters: the character set of the element's data set.
        big: whether numbers are in big endian.
    """
    if vr in BINARY_VRS:
        return encode_binary(vr, swap_bytes(raw, vr) if big else raw)
    encode = _NUMERIC.get(vr)
    if encode is not None:
        width = 4 if vr == b"AT" else calcsize(NUMBERS[vr])
        if len(raw) % width:
            return encode_binary(b"UN", raw)
        values = encode(vr, raw, ">" if big else "<")
    else:
        values = _encode_text(vr, raw, characters)
    head = b'"vr":"' + vr + b'"'
    return head + b',"Value":[' + values.encode("utf-8", "replace") + b"]" if values else head


def encode_binary(vr: bytes, raw: bytes) -> bytes:
    """Return the members of an element with InlineBinary (PS3.18 F.2.7)."""
    if not raw:
        return b'"vr":"' + vr + b'"'
    return b'"vr":"' + vr + b'","InlineBinary":"' + b64encode(raw) + b'"'


def encode_bulk(vr: bytes, uri: str) -> bytes:
    """Return the members of an element with BulkDataURI (PS3.18 F.2.6)."""
    return b'"vr":"' + vr + b'","BulkDataURI":' + encode_basestring(uri).encode()


def _integers(vr: bytes, raw: bytes, order: str) -> str:
    return ",".join(str(number) for (number,) in iter_unpack(order + NUMBERS[vr], raw))


def _floats(vr: bytes, raw: bytes, order: str) -> str:
    return ",".join(_float(number) for (number,) in iter_unpack(order + NUMBERS[vr], raw))


def _float(number: float) -> str:
    text = repr(number)
    return text if isfinite(number) else _NOT_FINITE[text]


def _tags(_: bytes, raw: bytes, order: str) -> str:
    return ",".join(
        f'"{group:04X}{element:04X}"' for group, element in iter_unpack(order + "HH", raw)
    )


_NUMERIC: Final[dict[bytes, Callable[[bytes, bytes, str], str]]] = {
    **dict.fromkeys((b"US", b"SS", b"UL", b"SL", b"UV", b"SV"), _integers),
    **dict.fromkeys((b"FL", b"FD"), _floats),
    b"AT": _tags,
}


def _encode_text(vr: bytes, raw: bytes, characters: CharacterSet) -> str:
    """Return all values of a text, in JSON; nothing if they are all empty."""
    raw = raw.rstrip(b"\0 ")
    if not raw:
        return ""
    if vr == b"DS" and _USUAL_DECIMALS.fullmatch(raw):
        return raw.decode("ascii").replace("\\", ",")
    text = (characters if vr in OF_CHARACTER_SET else _NO_SET).read(
        raw, vr.decode("ascii") if vr in OF_CHARACTER_SET else "LO"
    )
    if vr in WHOLE_VRS:
        return encode_basestring(text.rstrip("\0 "))
    encode = _BY_TEXT.get(vr, _string)
    if "\\" not in text:
        return encode(text)
    values = [encode(value) or "null" for value in text.split("\\")]
    return ",".join(values)


_NO_SET: Final = CharacterSet()


def _string(value: str) -> str:
    value = value.rstrip("\0 ")
    return encode_basestring(value) if value else ""


def _stripped(value: str) -> str:
    return _string(value.strip("\0 "))


def _integer(value: str) -> str:
    """Return an IS value as number, or as string if it is none."""
    value = value.strip("\0 ")
    if len(value) <= MAX_NUMBER_DIGITS and _INTEGER.fullmatch(value):
        return str(int(value.partition(".")[0]))
    return encode_basestring(value) if value else ""


def _decimal(value: str) -> str:
    """Return a DS value as number with the digits that it has, or as string if it is none."""
    value = value.strip("\0 ")
    if not value:
        return ""
    if len(value) <= MAX_NUMBER_DIGITS:
        if _JSON_NUMBER.fullmatch(value):
            # Beyond the range of doubles, JSON's readers have no number for it.
            return value if isfinite(float(value)) else f'"{value}"'
        if _OTHER_NUMBER.fullmatch(value) and isfinite(number := float(value)):
            return repr(number)
    return encode_basestring(value)


def _person(value: str) -> str:
    """Return a PN value: its non-empty component groups (PS3.18 F.2.2)."""
    groups = zip(COMPONENT_GROUPS, value.rstrip("\0 ").split("="), strict=False)
    held = [f'"{name}":{encode_basestring(group)}' for name, group in groups if group]
    return "{" + ",".join(held) + "}" if held else ""


_BY_TEXT: Final[dict[bytes, Callable[[str], str]]] = {
    b"AE": _stripped,
    b"DS": _decimal,
    b"IS": _integer,
    b"PN": _person,
}
