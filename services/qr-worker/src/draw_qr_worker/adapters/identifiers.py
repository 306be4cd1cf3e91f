"""Encodes and decodes the identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.1.1.2).

pydicom is imported with the first identifier: with NumPy and its codecs it would take a third of a
worker's start.
"""

from collections.abc import MutableSequence, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from draw_qr_worker.models import InvalidJob, Keys, Match
from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.characters import (
    DEFAULT_REPERTOIRE,
    TEXT_VRS,
    CharacterSet,
    character_set,
    distinct,
)
from draw_shared.dicom.encoding.code_extensions import ESCAPE
from draw_shared.dicom.network.peer_failures import PeerAborted
from draw_shared.dicom.query.keys import IDENTIFIERS
from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.wording import message

if TYPE_CHECKING:
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag


def encode_identifier(level: str, keys: Keys, transfer_syntax: str) -> bytes:
    """Return the encoded identifier.

    Raises:
        InvalidJob: a keyword is not in the dictionary, or a value does not fit its VR.
    """
    from pydicom.dataset import Dataset  # noqa: PLC0415
    from pydicom.uid import UID  # noqa: PLC0415
    from pynetdicom.dsutils import encode  # noqa: PLC0415

    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not all(_is_ascii(value) for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    try:
        for keyword, value in keys.items():
            setattr(identifier, keyword, value if isinstance(value, str) else list(value))
        syntax = UID(transfer_syntax)
        raw = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidJob(
            message("a query key has a value that its attribute cannot have")
        ) from error
    if raw is None:
        raise InvalidJob(message("the query keys cannot be encoded"))
    return raw


def decode_identifier(raw: bytes, transfer_syntax: str) -> Match:
    """Return a response's attributes by keyword, without sequences and private attributes.

    Text is decoded in the character set that the node declares, else in the one that fits.

    Raises:
        PeerAborted: the bytes are not a data set.
    """
    from pydicom.uid import UID  # noqa: PLC0415
    from pynetdicom.dsutils import decode  # noqa: PLC0415

    syntax = UID(transfer_syntax)
    try:
        found = decode(BytesIO(raw), syntax.is_implicit_VR, syntax.is_little_endian)
        tags = list(found.keys())
        characters = _character_set(found)
    except Exception as error:
        # pydicom raises any of these when it cannot read the bytes.
        raise PeerAborted(message("the node sent an identifier that is not a data set")) from error
    attributes: dict[str, Any] = {}
    for tag in tags:
        try:
            keyword, value = _read_attribute(found, tag, characters)
        except Exception:  # noqa: BLE001, S112 - one unreadable value must not hide the others
            continue
        if keyword:
            attributes[keyword] = value
    return attributes


def _read_attribute(found: "Dataset", tag: "BaseTag", characters: CharacterSet) -> tuple[str, Any]:
    """Return keyword and value of an element; no keyword for sequences and private elements."""
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415

    unread: object = found.get_item(tag)
    if isinstance(unread, RawDataElement) and (text := _decode_text(unread, characters)):
        return _keyword(tag), text
    element = found[tag]
    if element.VR == "SQ" or isinstance(element.value, bytes):
        return "", None
    return element.keyword, _to_json(element.value)


def read_failed_uids(raw: bytes, transfer_syntax: str) -> tuple[str, ...]:
    """Return the Failed SOP Instance UID List of a final response (PS3.4 C.4.2.1.4.2)."""
    found = decode_identifier(raw, transfer_syntax).get("FailedSOPInstanceUIDList") or []
    return (found,) if isinstance(found, str) else tuple(found)


def _character_set(found: "Dataset") -> CharacterSet:
    value: object = getattr(found.get_item("SpecificCharacterSet"), "value", None)
    return character_set(value) if isinstance(value, bytes) else DEFAULT_REPERTOIRE


def _decode_text(element: "RawDataElement", characters: CharacterSet) -> str | list[str] | None:
    """Return an element's text if it holds more than ASCII, else None."""
    vr = element.VR
    if vr is None or vr == "UN":
        vr = dictionary.vr_of(element.tag) if dictionary.lists(element.tag) else "UN"
    raw = element.value
    if vr not in TEXT_VRS or raw is None or (raw.isascii() and ESCAPE not in raw):
        return None
    text = characters.read(raw, vr).replace("\0", "")
    if _keyword(element.tag) in IDENTIFIERS:
        text = distinct(text, raw)
    if vr in WHOLE_TEXT_VRS or "\\" not in text:
        return text.rstrip(" ")
    return [value.strip(" ") for value in text.split("\\")]


def _keyword(tag: int) -> str:
    try:
        return dictionary.entry_of(tag).keyword
    except KeyError:
        return ""


def _to_json(value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, MutableSequence):
        return [_to_json(item) for item in value]
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    # JSONB cannot hold NUL, and some peers pad text with it.
    return str(value).replace("\0", "")


def _is_ascii(value: str | Sequence[str]) -> bool:
    return value.isascii() if isinstance(value, str) else all(map(str.isascii, value))
