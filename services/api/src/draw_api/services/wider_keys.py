"""Wider queries: what to ask a node that has found nothing.

Nodes compare letter by letter (PS3.4 C.2.2.2), some of them also capitals and accents. A person who
typed what is on a request form gets another chance with the same words between wildcards.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

TEXTS: Final = (
    "PatientID",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
    "ReferringPhysicianName",
)
DATES: Final = ("StudyDate", "PatientBirthDate")
SEPARATORS: Final = re.compile(r"[\^=,*?\s]+")
LATIN_WITH_ACCENT: Final = re.compile("[\u00c0-\u024f]")
MIN_LETTERS: Final = 2
"""A shorter word between wildcards would match nearly everything."""


def with_wildcards(keys: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the keys with wildcards around what they look for; None if they have them already.

    Letters with an accent, which nodes spell in different ways, become wildcards too.
    """
    wider = dict(keys)
    for keyword in ("PatientName", *TEXTS):
        value = keys.get(keyword)
        if not isinstance(value, str) or not value or "\\" in value:
            continue
        words = [word for word in SEPARATORS.split(_without_accents(value)) if word]
        if words and max(map(len, words)) >= MIN_LETTERS:
            wider[keyword] = f"*{'*'.join(words)}*"
    return wider if wider != dict(keys) else None


def without_dates(keys: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the keys without dates; None if they name no date, or nothing else."""
    wider = {keyword: value for keyword, value in keys.items() if keyword not in DATES}
    narrow = any(wider.values())
    return wider if narrow and any(keys.get(keyword) for keyword in DATES) else None


def _without_accents(text: str) -> str:
    return LATIN_WITH_ACCENT.sub("*", text)
