"""Writes data sets in the Native DICOM Model (PS3.19 A.1), from the DICOM JSON Model."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from draw_shared.dicom.encoding import dictionary

GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
PARTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def native_model(data_set: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return one data set as an XML document."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _add(root, data_set)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def native_models(document: bytes) -> Iterator[bytes]:
    """Yield an XML document for each data set of a JSON array."""
    yield from map(native_model, json.loads(document))


def _add(parent: Element, data_set: Mapping[str, Mapping[str, Any]]) -> None:
    for tag, element in data_set.items():
        named = {"tag": tag, "vr": element["vr"]}
        if keyword := _keyword(tag):
            named["keyword"] = keyword
        made = SubElement(parent, "DicomAttribute", named)
        if "BulkDataURI" in element:
            SubElement(made, "BulkData", {"uri": element["BulkDataURI"]})
        elif "InlineBinary" in element:
            SubElement(made, "InlineBinary").text = element["InlineBinary"]
        for number, value in enumerate(element.get("Value", ()), 1):
            _add_value(made, element["vr"], number, value)


def _add_value(made: Element, vr: str, number: int, value: Any) -> None:  # noqa: ANN401 - JSON
    at = {"number": str(number)}
    if vr == "SQ":
        _add(SubElement(made, "Item", at), value or {})
    elif vr == "PN":
        name = SubElement(made, "PersonName", at)
        for group in GROUPS:
            if text := (value or {}).get(group):
                parts = SubElement(name, group)
                for part, words in zip(PARTS, text.split("^"), strict=False):
                    if words:
                        SubElement(parts, part).text = _allowed(words)
    else:
        SubElement(made, "Value", at).text = "" if value is None else _allowed(str(value))


def _keyword(tag: str) -> str:
    try:
        return dictionary.entry_of(int(tag, 16)).keyword
    except KeyError:
        return ""


def _allowed(text: str) -> str:
    """Return text without the characters that XML cannot have."""
    return "".join(c for c in text if c in "\t\n\r" or c >= " ")
