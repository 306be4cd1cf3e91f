"""Whether what a node answers fits the keys that it was asked with, by our own rules.

Nodes ignore keys that they do not support (0xFF01), compare the beginning only, or compare
nothing at all. Whoever shows an answer as that of a question, or fetches it, asks here first.

- What says whose study it is, and of which day, has to be told and to fit.
- Any other attribute that is told has to fit; letter case does not count there, because nodes
  differ. One that is not told is not held against the answer.
"""

from collections.abc import Mapping
from typing import Any, Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.query.matching import InvalidKey, Nothing, parse, value_fits

HAVE_TO_BE_TOLD: Final = frozenset(
    {
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyInstanceUID",
        "StudyDate",
    }
)
EXACT: Final = ("PatientID", "AccessionNumber", "StudyInstanceUID")
"""Keys by which a study is meant and no other, if they have no wildcard."""
NO_LETTER_CASE: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"})


def misfit(keys: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    """Return the keyword of a key that an answer does not fit; empty when it fits all."""
    return next((name for name in keys if not _fits(name, keys[name], _told(answer, name))), "")


def is_told(answer: Mapping[str, Any], keyword: str) -> bool:
    """Return whether an answer has a value of an attribute."""
    return bool(_told(answer, keyword))


def meant_by_name(keys: Mapping[str, str], answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has the name that was asked for, and not one that goes on.

    `Smith*` is asked for the family name Smith, because no node finds SMITH^JOHN otherwise; it
    brings SMITHSON^BOB as well. Where an identifier was asked for, the name decides nothing.
    """
    asked = keys.get("PatientName", "")
    whole = asked.removesuffix("*")
    by_identifier = any(keys.get(name) and not set("*?") & set(keys[name]) for name in EXACT)
    if by_identifier or whole == asked or not whole or whole.endswith("^"):
        return True
    condition = parse("PN", "\\".join((whole, f"{whole}^*", f"{whole} *")))
    return condition is None or any(
        value_fits(condition, name) for name in _told(answer, "PatientName")
    )


def _fits(keyword: str, key: str, told: list[str]) -> bool:
    vr = dictionary.entry_named(keyword).vr
    fold = vr in NO_LETTER_CASE and keyword not in HAVE_TO_BE_TOLD
    try:
        condition = parse(vr, key.casefold() if fold else key)
    except InvalidKey:
        return True
    # What we cannot read, the node may.
    if condition is None or isinstance(condition, Nothing):
        return True
    if not told and keyword not in HAVE_TO_BE_TOLD:
        return True
    return any(value_fits(condition, value.casefold() if fold else value) for value in told)


def _told(answer: Mapping[str, Any], keyword: str) -> list[str]:
    value = answer.get(keyword)
    values = value if isinstance(value, list) else [value]
    texts = (str(each).strip(" \0") for each in values if isinstance(each, str | int | float))
    return [text for text in texts if text]
