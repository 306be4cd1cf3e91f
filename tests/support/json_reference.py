"""What a stored object's JSON must be: pydicom's, with the differences that `json_model` lists."""

import base64
import warnings

import pydicom

from draw_shared.dicom.encoding.uids import EXPLICIT_BIG
from support.data_set_tree import in_order

INLINE_BYTES = 1024
PIXEL_DATA = "7FE00010"
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def bulk_uri(path):
    """Return the URI that tests give a bulk value."""
    return f"../bulkdata/{path}"


def expected_json(held: pydicom.Dataset) -> dict:
    """Return the JSON model of a data set as `json_model` documents it."""
    big = held.file_meta.TransferSyntaxUID == EXPLICIT_BIG
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _data_set(held.to_json_dict(), "", big=big)


def _data_set(members, path, *, big):
    return {
        tag: _element(tag, {**element, "vr": str(element["vr"])}, path, big=big)
        for tag, element in sorted(members.items())
        if tag[4:] != "0000"
    }


def _element(tag, element, path, *, big):
    vr = element["vr"]
    if "InlineBinary" in element:
        raw = base64.b64decode(element["InlineBinary"])
        if tag == PIXEL_DATA or len(raw) > INLINE_BYTES:
            return {"vr": vr, "BulkDataURI": bulk_uri(path + tag)}
        if big and vr != "UN":
            raw = in_order(raw, vr)
        return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode()}
    values = element.get("Value", [])
    if vr == "SQ":
        values = [
            _data_set(item, f"{path}{tag}/{number}/", big=big) for number, item in enumerate(values)
        ]
    else:
        values = [_value(value) for value in values]
    empty = not values or values == [None]
    return {"vr": vr} if empty else {"vr": vr, "Value": values}


def _value(value):
    if isinstance(value, dict):
        return {name: group for name, group in value.items() if group} or None
    if isinstance(value, str):
        return value.rstrip(" \0") or None
    return NOT_FINITE.get(repr(value), value)
