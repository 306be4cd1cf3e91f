"""Reads from a data set only the elements that decide where it is stored."""

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final, NamedTuple

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.data_set import gather
from draw_shared.dicom.encoding.flaws import format_tag
from draw_shared.dicom.encoding.part10 import PREAMBLE, PREFIX
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE
from draw_shared.dicom.encoding.walk import Gathered, Undecodable, WalkEnd
from draw_shared.storage.layout import ObjectIdentity
from draw_shared.wording import message

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
PATIENT_ID: Final = 0x00100020
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
INSTANCE_NUMBER: Final = 0x00200013
WANTED: Final = frozenset((SOP_CLASS, SOP_INSTANCE, PATIENT_ID, STUDY, SERIES, INSTANCE_NUMBER))
REQUIRED: Final = frozenset((SOP_CLASS, SOP_INSTANCE, STUDY, SERIES))

HEAD_BYTES: Final = (65536, 1024**2, 16 * 1024**2, 64 * 1024**2)
"""Sizes to read, one after the other, until the identifiers are found."""

_INFLATED_AT_ONCE: Final = threading.BoundedSemaphore(4)
"""Limits how many deflated data sets are inflated at once; each takes some MiB of memory."""

INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}")


class Identified(NamedTuple):
    """The identifiers found in a data set; an absent UID is empty."""

    sop_class_uid: str
    identity: ObjectIdentity


def identify(head: Callable[[int], bytes], size: int, transfer_syntax_uid: str) -> Identified:
    """Return the object's identity; `head(n)` returns the first n bytes of its data set.

    Raises:
        Undecodable: a required identifier is missing in the readable part.
    """
    with _INFLATED_AT_ONCE if transfer_syntax_uid == DEFLATED_LITTLE else nullcontext():
        found = _gathered(head, size, transfer_syntax_uid)
    missing = REQUIRED - found.values.keys()
    if missing and head(len(PREAMBLE)).endswith(PREFIX):
        raise Undecodable(message("the data set begins with a DICOM file's preamble"))
    if missing:
        raise Undecodable(_reason(min(missing), found))
    return _identified(found.values)


def _gathered(head: Callable[[int], bytes], size: int, transfer_syntax_uid: str) -> Gathered:
    steps = iter(HEAD_BYTES)
    while True:
        most = next(steps)
        _, found = gather(
            head(min(most, size)),
            transfer_syntax_uid,
            WANTED,
            last=INSTANCE_NUMBER,
            required=REQUIRED,
            whole=most >= size,
        )
        if most >= min(size, HEAD_BYTES[-1]) or found.ending not in {WalkEnd.CUT, WalkEnd.ENDED}:
            return found


def _reason(missing: int, found: Gathered) -> str:
    """Return why an object cannot be identified, short enough for a C-STORE response."""
    name = dictionary.entry_of(missing).name
    if found.ending is WalkEnd.DAMAGED:
        return message(
            "%(name)s is missing, unreadable from %(tag)s",
            name=name,
            tag=format_tag(found.stopped_at),
        )
    if found.ending is WalkEnd.CUT:
        return message(
            "%(name)s is missing, cut at %(tag)s", name=name, tag=format_tag(found.stopped_at)
        )
    return message("%(name)s is missing", name=name)


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
    # Latin-1 keeps every byte, so different identifiers stay different in any character set.
    return found.get(tag, b"").rstrip(b"\0").strip(b" ").decode("latin-1")
