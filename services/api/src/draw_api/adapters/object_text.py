"""Decodes an object's text for display, in the same way as the index."""

from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from draw_shared.dicom.encoding.characters import TEXT_VRS, CharacterSet, character_set
from draw_shared.dicom.encoding.code_extensions import ESCAPE

SPECIFIC_CHARACTER_SET: Final = 0x00080005


def character_set_of(held: Dataset, around: CharacterSet) -> CharacterSet:
    """Return the character set of a data set: its own, else the enclosing one's (PS3.5 7.5.3)."""
    value: object = getattr(held.get_item(SPECIFIC_CHARACTER_SET), "value", None)
    if not value:
        return around
    if isinstance(value, bytes):
        return character_set(value)
    terms = value if isinstance(value, MultiValue) else [value]
    return character_set("\\".join(map(str, terms)).encode("ascii", "replace"))


def inherit(item: Dataset, around: Dataset) -> Dataset:
    """Return an item that declares the enclosing data set's character set, or its own."""
    if SPECIFIC_CHARACTER_SET in around and SPECIFIC_CHARACTER_SET not in item:
        item[SPECIFIC_CHARACTER_SET] = around[SPECIFIC_CHARACTER_SET]
    return item


def text_beyond_ascii(held: Dataset, tag: int, characters: CharacterSet) -> str | None:
    """Return the text of an element that pydicom has not decoded, or None if its value is ASCII."""
    element: object = held.get_item(tag)
    raw = element.value if isinstance(element, RawDataElement) else None
    if not raw or (raw.isascii() and ESCAPE not in raw):
        return None
    vr = str(held[tag].VR)
    return characters.read(raw, vr).strip(" \0") if vr in TEXT_VRS else None
