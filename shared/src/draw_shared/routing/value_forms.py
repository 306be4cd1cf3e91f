"""What the value of a condition must look like for an element of its VR to have it (PS3.5 6.2).

Only documents that are saved are checked so: one that is in force goes on to work.
"""

import re
from collections.abc import Mapping
from typing import Final

from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.routing.subjects import CALLED_AE, CALLING_AE, MOVE_ORIGINATOR, ConditionSubject
from draw_shared.wording import message

MAX_LENGTHS: Final[Mapping[str, int]] = {
    "AE": 16,
    "CS": 16,
    "SH": 16,
    "LO": 64,
    "UI": 64,
    "PN": 194,
}
"""Characters of one value; longer texts are allowed more than a condition is."""
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "IS": (-(2**31), 2**31 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "SV": (-(2**63), 2**63 - 1),
    "UL": (0, 2**32 - 1),
    "US": (0, 2**16 - 1),
    "UV": (0, 2**64 - 1),
}
"""The least and the greatest whole number of a VR."""
AE_TITLES: Final = frozenset((CALLING_AE, CALLED_AE, MOVE_ORIGINATOR))
UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
PART_OF_UID: Final = re.compile(r"[0-9.]+")


def misfit_of_number(value: float, subject: ConditionSubject, *, whole: bool) -> str | None:
    """Return in words why no value of a subject can be this number, or lie beyond it.

    Args:
        value: what a condition compares with.
        subject: where it looks.
        whole: whether it must be a value, not a limit of values.
    """
    ranges = [RANGES[vr] for vr in subject.vr.split(" or ") if vr in RANGES]
    if not ranges or subject.creator:
        return None
    low, high = min(one[0] for one in ranges), max(one[1] for one in ranges)
    if not low <= value <= high:
        return message(
            "must be from %(low)s to %(high)s, as %(name)s is",
            low=low,
            high=high,
            name=subject.name,
        )
    if whole and value != int(value):
        return message("must be a whole number, as %(name)s is", name=subject.name)
    return None


def misfit_of(text: str, subject: ConditionSubject, *, whole: bool) -> str | None:
    """Return in words why no value of a subject can have this text; None if one can.

    Args:
        text: what a condition looks for.
        subject: where it looks.
        whole: whether it must be all of a value, not a part.
    """
    vr = "AE" if subject.name in AE_TITLES else subject.vr
    longest = MAX_LENGTHS.get(vr)
    # Which VR a private element has may be known to its creator only.
    if longest is not None and not subject.creator and len(text) > longest:
        return message(
            "must have at most %(count)s characters, as %(name)s has",
            count=longest,
            name=subject.name,
        )
    if vr and vr not in WHOLE_TEXT_VRS and "\\" in text:
        return message("must have no backslash, which separates values; is_one_of takes several")
    if vr == "UI" and not (UID if whole else PART_OF_UID).fullmatch(text):
        if whole:
            return message("must be a UID such as 1.2.840.10008.1.2")
        return message("must be a part of a UID: digits and dots")
    return None
