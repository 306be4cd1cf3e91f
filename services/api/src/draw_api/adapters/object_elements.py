"""Reads an object's elements as rows of a tree: bounded, and text only."""

from collections.abc import Iterator
from typing import Any, Final

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from draw_api.adapters.object_text import character_set_of, text_beyond_ascii
from draw_api.adapters.pydicom_source import source
from draw_shared.dicom.encoding.characters import DEFAULT_REPERTOIRE, CharacterSet
from draw_shared.wording import message

MAX_ELEMENTS: Final = 4000
MAX_DEPTH: Final = 8
MAX_VALUE_LENGTH: Final = 256
DEFER_BYTES: Final = 64 * 1024
BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def elements(path: str, search: str) -> dict[str, Any]:
    """Return the elements of a file, or those that contain a text and the sequences above them."""
    held = pydicom.dcmread(source(path), force=True, defer_size=DEFER_BYTES)
    rows: list[dict[str, Any]] = []
    truncated = False
    wanted = search.casefold()
    for row in _rows(held):
        if len(rows) >= MAX_ELEMENTS:
            truncated = True
            break
        rows.append(row)
    if wanted:
        rows = list(_filter_rows(rows, wanted))
    return {"items": rows, "truncated": truncated}


def _rows(held: Dataset) -> Iterator[dict[str, Any]]:
    meta = getattr(held, "file_meta", None)
    if meta is not None:
        yield from _level(meta, 0, DEFAULT_REPERTOIRE)
    yield from _level(held, 0, DEFAULT_REPERTOIRE)


def _level(held: Dataset, depth: int, around: CharacterSet) -> Iterator[dict[str, Any]]:
    characters = character_set_of(held, around)
    for tag in sorted(held.keys()):
        try:
            text = text_beyond_ascii(held, tag, characters)
            element = held[tag]
        except Exception as error:  # noqa: BLE001 - a value that cannot be decoded is shown as such
            yield _row(
                depth,
                str(tag),
                "",
                "",
                message("not decodable (%(error)s)", error=type(error).__name__),
            )
            continue
        if element.VR == "SQ":
            yield from _sequence(element, depth, characters)
        else:
            shown = _value(element) if text is None else _cut(text)
            yield _row(depth, _tag(element), str(element.VR), element.name, shown)


def _sequence(
    element: DataElement, depth: int, characters: CharacterSet
) -> Iterator[dict[str, Any]]:
    items = element.value or []
    yield _row(depth, _tag(element), "SQ", element.name, f"{len(items)} items", is_sequence=True)
    if depth >= MAX_DEPTH:
        return
    for number, item in enumerate(items, start=1):
        yield _row(depth + 1, "", "", f"Item {number}", "", is_sequence=True)
        yield from _level(item, depth + 2, characters)


def _tag(element: DataElement) -> str:
    return str(element.tag).replace(" ", "")


def _row(
    depth: int, tag: str, vr: str, name: str, value: str, *, is_sequence: bool = False
) -> dict[str, Any]:
    return {
        "depth": depth,
        "tag": tag,
        "vr": vr,
        "name": name,
        "value": value,
        "is_sequence": is_sequence,
    }


def _value(element: DataElement) -> str:
    value = element.value
    if value is None or value == "":
        return ""
    if element.VR in BINARY or isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes" if hasattr(value, "__len__") else "binary"
    if isinstance(value, MultiValue):
        # Convert only as many as can be shown: there may be millions of contour points.
        shown = "\\".join(str(one) for one in value[:MAX_VALUE_LENGTH])
    else:
        shown = str(value)
    return _cut(shown)


def _cut(shown: str) -> str:
    return shown if len(shown) <= MAX_VALUE_LENGTH else f"{shown[: MAX_VALUE_LENGTH - 1]}…"


def _filter_rows(rows: list[dict[str, Any]], wanted: str) -> Iterator[dict[str, Any]]:
    above: list[dict[str, Any]] = []
    for row in rows:
        while above and above[-1]["depth"] >= row["depth"]:
            above.pop()
        if any(wanted in str(row[name]).casefold() for name in ("tag", "vr", "name", "value")):
            yield from above
            above.clear()
            yield row
        elif row["is_sequence"]:
            above.append(row)
