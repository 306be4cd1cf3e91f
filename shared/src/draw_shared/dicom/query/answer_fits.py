"""Checks by our own rules whether the answer of a node fits the keys that it was asked with.

Nodes ignore keys that they do not support (0xFF01), compare only the beginning, or compare
nothing. Code that shows an answer as the result of a question, or fetches it, checks it here first.

- Attributes that say whose study it is and from which day must be present and must fit.
- Any other attribute must fit if it is present; letter case is ignored, because nodes differ in
  that. If it is absent, that does not count against the answer.
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
"""Keys that identify one study if they contain no wildcard."""
NO_LETTER_CASE: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"})


def misfit(keys: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    """Return the keyword of a key that an answer does not fit; empty if it fits all."""
    return next(
        (name for name in keys if not _fits(name, keys[name], _values_of(answer, name))), ""
    )


def has_value(answer: Mapping[str, Any], keyword: str) -> bool:
    """Return whether an answer has a value for an attribute."""
    return bool(_values_of(answer, keyword))


def has_meant_name(keys: Mapping[str, str], answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has the requested name, and not a longer one.

    The family name Smith is queried as `Smith*`, because otherwise no node finds SMITH^JOHN; this
    also finds SMITHSON^BOB. If an identifier was queried as well, the name decides nothing.
    """
    asked = keys.get("PatientName", "")
    whole = asked.removesuffix("*")
    by_identifier = any(keys.get(name) and not set("*?") & set(keys[name]) for name in EXACT)
    if by_identifier or whole == asked or not whole or whole.endswith("^"):
        return True
    condition = parse("PN", "\\".join((whole, f"{whole}^*", f"{whole} *")))
    return condition is None or any(
        value_fits(condition, name) for name in _values_of(answer, "PatientName")
    )


def _fits(keyword: str, key: str, told: list[str]) -> bool:
    vr = dictionary.entry_named(keyword).vr
    fold = vr in NO_LETTER_CASE and keyword not in HAVE_TO_BE_TOLD
    try:
        condition = parse(vr, key.casefold() if fold else key)
    except InvalidKey:
        return True
    # The node may understand a key that we cannot parse.
    if condition is None or isinstance(condition, Nothing):
        return True
    if not told and keyword not in HAVE_TO_BE_TOLD:
        return True
    return any(value_fits(condition, value.casefold() if fold else value) for value in told)


def _values_of(answer: Mapping[str, Any], keyword: str) -> list[str]:
    value = answer.get(keyword)
    values = value if isinstance(value, list) else [value]
    texts = (str(each).strip(" \0") for each in values if isinstance(each, str | int | float))
    return [text for text in texts if text]
