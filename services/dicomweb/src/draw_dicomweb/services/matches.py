"""Matches of a search in the DICOM JSON Model (PS3.18 F.2), made from the texts of the index."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from draw_shared.dicom.query.keys import IndexedAttribute
from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.dicom.query.query import Asked, Constant, FindQuery, Row

DataSet = dict[str, dict[str, Any]]
"""One match: elements by tag."""

CHARACTER_SET: Final = "00080005"
RETRIEVE_URL: Final = "00081190"
UTF_8: Final = {"vr": "CS", "Value": ["ISO_IR 192"]}
ONLINE: Final = "ONLINE"
WHOLE_NUMBERS: Final = frozenset({"IS", "SL", "SS", "UL", "US", "SV", "UV"})
NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


class MatchDocuments:
    """Makes the matches of one query; everything but the values is prepared."""

    def __init__(self, query: FindQuery, url: Callable[[Sequence[str]], str]) -> None:
        """Prepare; `url` makes the Retrieve URL from the UIDs of a match, from the study down."""
        positions = {attribute: n for n, attribute in enumerate(query.columns)}
        self._elements = [
            (f"{one.tag:08X}", one, positions.get(one.source))  # type: ignore[arg-type]
            for one in query.asked
        ]
        by_keyword = {attribute.keyword: n for attribute, n in positions.items()}
        self._uids = [
            by_keyword[keyword]
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            if keyword in by_keyword
        ]
        self._url = url

    def data_set(self, row: Row) -> DataSet:
        """Return one match."""
        found: DataSet = {CHARACTER_SET: UTF_8}
        for tag, one, position in self._elements:
            if one.source is Constant.INSTANCE_AVAILABILITY:
                found[tag] = {"vr": one.vr, "Value": [ONLINE]}
            elif position is not None:
                found[tag] = _element(one, row[position])
        uids = [str(row[position] or b"", "utf-8") for position in self._uids]
        found[RETRIEVE_URL] = {"vr": "UR", "Value": [self._url(uids)]}
        return dict(sorted(found.items()))


def _element(one: Asked, raw: bytes | None) -> dict[str, Any]:
    if not raw:
        return {"vr": one.vr}
    if one.vr == "SQ":
        return {"vr": "SQ", "Value": [_item(one, held) for held in json.loads(raw)]}
    values = values_of(one.vr, str(raw, "utf-8"))
    return {"vr": one.vr, "Value": values} if values else {"vr": one.vr}


def _item(one: Asked, held: dict[str, Any]) -> DataSet:
    found: DataSet = {}
    for part in one.items:
        source = part.source
        text = str(held.get(source.keyword, "")) if isinstance(source, IndexedAttribute) else ""
        if text:
            found[f"{part.tag:08X}"] = {"vr": part.vr, "Value": values_of(part.vr, text)}
    return found


def values_of(vr: str, text: str) -> list[Any]:
    """Return the values of an element; a number that is none stays text (PS3.18 F.2.3)."""
    parts = [text] if vr in WHOLE_TEXT_VRS else text.split("\\")
    if vr == "PN":
        return [_name(part) for part in parts]
    if vr in WHOLE_NUMBERS or vr == "DS":
        return [_number(part, whole=vr != "DS") for part in parts]
    return [part.strip(" \0") or None for part in parts]


def _name(text: str) -> dict[str, str] | None:
    groups = zip(NAME_GROUPS, text.split("="), strict=False)
    return {name: group for name, group in groups if group.strip()} or None


def _number(text: str, *, whole: bool) -> int | float | str | None:
    text = text.strip(" \0")
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return text or None
