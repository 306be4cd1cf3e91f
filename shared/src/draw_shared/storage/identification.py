"""Reads from a data set what its place in the storage depends on, and no more."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from draw_shared.dicom.scan import (
    LONGEST_INFLATED,
    NeedMore,
    Undecodable,
    beginning,
    scanner_for,
)
from draw_shared.dicom.uids import DEFLATED_LITTLE
from draw_shared.storage.layout import ObjectIdentity

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
PATIENT_ID: Final = 0x00100020
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
INSTANCE_NUMBER: Final = 0x00200013
WANTED: Final = frozenset((SOP_CLASS, SOP_INSTANCE, PATIENT_ID, STUDY, SERIES, INSTANCE_NUMBER))
REQUIRED: Final = frozenset((SOP_CLASS, SOP_INSTANCE, STUDY, SERIES))

HEAD_BYTES: Final = (65536, 1024**2, 16 * 1024**2, 64 * 1024**2)
"""How much of a data set is looked at: first little, and more only when it was not enough."""

INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}")


class Identified(NamedTuple):
    """What a data set says about itself; an absent UID is empty."""

    sop_class_uid: str
    identity: ObjectIdentity


def identify(head: Callable[[int], bytes], size: int, transfer_syntax_uid: str) -> Identified:
    """Return who the object is; `head(n)` gives the first n bytes of its data set.

    Raises:
        Undecodable: this is not a data set in this transfer syntax.
    """
    for most in HEAD_BYTES:
        found = _scanned(head(min(most, size)), transfer_syntax_uid, whole=most >= size)
        if found is not None:
            return _identified(found)
    raise Undecodable("the identifying elements are not near the beginning")


def _scanned(raw: bytes, transfer_syntax_uid: str, *, whole: bool) -> Mapping[int, bytes] | None:
    """Return the wanted values, or None when more of the data set is needed."""
    data = beginning(raw, transfer_syntax_uid)
    complete = whole and (transfer_syntax_uid != DEFLATED_LITTLE or len(data) < LONGEST_INFLATED)
    scanner = scanner_for(transfer_syntax_uid, data)
    try:
        found = scanner.scan(data, WANTED, last=INSTANCE_NUMBER, whole=complete)
    except NeedMore:
        return None
    # A cut that happens to fall between two elements is not seen by the scanner.
    return found if complete or REQUIRED.issubset(found) else None


def _identified(found: Mapping[int, bytes]) -> Identified:
    number = _text(found, INSTANCE_NUMBER)
    return Identified(
        _text(found, SOP_CLASS),
        ObjectIdentity(
            _text(found, PATIENT_ID),
            _text(found, STUDY),
            _text(found, SERIES),
            _text(found, SOP_INSTANCE),
            int(number) if INTEGER.fullmatch(number) else None,
        ),
    )


def _text(found: Mapping[int, bytes], tag: int) -> str:
    # Latin-1 loses nothing: two identifiers in any character set stay different.
    return found.get(tag, b"").rstrip(b"\0").strip(b" ").decode("latin-1")
