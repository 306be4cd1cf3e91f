"""The subjects of conditions: elements of the data set, and what is known beside it.

An element is named by keyword or tag; within sequences by a path, as in
`RequestAttributesSequence.ScheduledProcedureStepID`. A private element of the data set itself is
named with its creator, as in `0019xx0C[SIEMENS MR HEADER]`, because only the creator says what it
is, and each file chooses the block in which it lies (PS3.5 7.8). Each subject has one canonical
name, under which its values are found among the facts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.wording import message

MAX_PATH_STEPS: Final = 8
MAX_SUBJECT_LENGTH: Final = 200
MAX_VALUES: Final = 256
"""Values of one subject; further ones are not looked at."""
PIXEL_DATA: Final = 0x7FE00008
"""The first tag that can hold pixels; nothing from there on is read."""
DATA_SETS_BEGIN: Final = 0x00080000
GROUP_BITS: Final = 16
TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")

PRIVATE: Final = re.compile(r"([0-9A-Fa-f]{4})xx([0-9A-Fa-f]{2})\[([^\x00-\x1f\x7f\\\]]{1,64})\]")
PRIVATE_BLOCK: Final = 0x1000
"""The first block of private elements; in a file it may be another one."""
TEXT_VR: Final = "LO"
"""How private elements are read that the dictionary does not have."""

CALLING_AE: Final = "calling_ae"
CALLED_AE: Final = "called_ae"
ADDRESS: Final = "address"
MOVE_ORIGINATOR: Final = "move_originator"
REASON: Final = "reason"
INSTANCES: Final = "instances"
NEW_INSTANCES: Final = "new_instances"
SIZE_BYTES: Final = "size_bytes"
UNREADABLE: Final = "unreadable"


class ValueKind(StrEnum):
    """How the values of a subject are compared."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    MOMENT = "moment"
    AGE = "age"
    FLAG = "flag"
    PRESENCE = "presence"
    """Only whether there is something: sequences and binary values."""


KINDS: Final[Mapping[str, ValueKind]] = {
    **dict.fromkeys(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"), ValueKind.NUMBER),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"), ValueKind.PRESENCE),
    "DA": ValueKind.DATE,
    "TM": ValueKind.TIME,
    "DT": ValueKind.MOMENT,
    "AS": ValueKind.AGE,
}
"""The kinds of VRs; any other VR is text."""

BESIDE: Final[Mapping[str, ValueKind]] = {
    CALLING_AE: ValueKind.TEXT,
    CALLED_AE: ValueKind.TEXT,
    ADDRESS: ValueKind.TEXT,
    MOVE_ORIGINATOR: ValueKind.TEXT,
    REASON: ValueKind.TEXT,
    INSTANCES: ValueKind.NUMBER,
    NEW_INSTANCES: ValueKind.NUMBER,
    SIZE_BYTES: ValueKind.NUMBER,
    UNREADABLE: ValueKind.FLAG,
}
"""Subjects beside the data set."""


@dataclass(frozen=True, slots=True)
class ConditionSubject:
    """What a condition looks at."""

    name: str
    """Canonical: the same element has the same name, however it is written."""
    kind: ValueKind
    vr: str = ""
    """Of an element; empty for what is beside the data set."""
    tags: tuple[int, ...] = ()
    """The way to an element: sequences, and the element last; a private one in the first block."""
    creator: str = ""
    """Of a private element."""

    @property
    def is_element(self) -> bool:
        """Whether it is an element of the data set."""
        return bool(self.tags)

    @property
    def can_hide(self) -> bool:
        """Whether it may have values that nobody knows if a header could not be read."""
        # The file meta group alone keeps who was called.
        return self.is_element or self.name == CALLED_AE


@lru_cache(maxsize=4096)
def subject_of(text: str) -> ConditionSubject:
    """Return the subject that a text names.

    Raises:
        ValueError: it names none that can be used; the text says why.
    """
    if text in BESIDE:
        return ConditionSubject(text, BESIDE[text])
    private = PRIVATE.fullmatch(text)
    if private is not None:
        return _private(int(private[1], 16), int(private[2], 16), private[3].strip())
    steps = text.split(".")
    if len(steps) > MAX_PATH_STEPS:
        raise ValueError(message("is a path of more than %(count)s elements", count=MAX_PATH_STEPS))
    tags = tuple(map(_tag_of, steps))
    names = []
    for tag in tags[:-1]:
        entry = dictionary.entry_of(tag)
        if entry.vr != "SQ":
            raise ValueError(message("%(name)s is not a sequence", name=_name_of(tag)))
        names.append(_name_of(tag))
    vr = dictionary.vr_of(tags[-1])
    return ConditionSubject(".".join((*names, _name_of(tags[-1]))), _kind_of(vr), vr, tags)


def split_values(text: str, vr: str) -> tuple[str, ...]:
    """Return the values of an element's text without padding; empty ones are left out."""
    values = (text,) if vr in WHOLE_TEXT_VRS else text.split("\\", MAX_VALUES)[:MAX_VALUES]
    return tuple(value for value in (one.strip(" \0") for one in values) if value)


def _private(group: int, element: int, creator: str) -> ConditionSubject:
    tag = group << GROUP_BITS | PRIVATE_BLOCK | element
    if not group & 1 or not DATA_SETS_BEGIN < tag < PIXEL_DATA or not creator:
        raise ValueError(message("is no private element of a data set"))
    try:
        vr = dictionary.private_vr_of(tag, creator)
    except KeyError:
        vr = TEXT_VR
    name = f"{group:04X}xx{element:02X}[{creator}]"
    return ConditionSubject(name, _kind_of(vr), vr, (tag,), creator)


def _tag_of(step: str) -> int:
    tag = dictionary.tag_of(step) if step else None
    if tag is None:
        given = TAG.fullmatch(step)
        if given is None:
            raise ValueError(
                message(
                    "is neither a keyword nor a tag of DICOM's dictionary, nor one of %(others)s",
                    others=", ".join(BESIDE),
                )
            )
        tag = int(given[1] + given[2], 16)
    if tag >= PIXEL_DATA:
        raise ValueError(message("lies in or behind the pixel data, which is not read"))
    if tag < DATA_SETS_BEGIN:
        raise ValueError(message("is no element of a data set"))
    if tag >> GROUP_BITS & 1:
        raise ValueError(
            message("is a private element, which is named with its creator: 0019xx0C[CREATOR]")
        )
    try:
        dictionary.entry_of(tag)
    except KeyError:
        raise ValueError(message("is a tag that DICOM's dictionary does not have")) from None
    return tag


def _name_of(tag: int) -> str:
    keyword = dictionary.entry_of(tag).keyword
    # All groups of a repeating group share one keyword.
    return keyword if keyword and dictionary.lists(tag) else f"{tag:08X}"


def _kind_of(vr: str) -> ValueKind:
    """Return the kind of a VR of the dictionary, which may be several as `US or SS`."""
    kinds = {KINDS.get(one, ValueKind.TEXT) for one in vr.split(" or ")}
    return kinds.pop() if len(kinds) == 1 else ValueKind.PRESENCE
