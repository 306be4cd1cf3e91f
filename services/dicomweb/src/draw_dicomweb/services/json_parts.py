"""Makes files of metadata in the DICOM JSON Model and bulk data beside it (PS3.18 10.5.2, F).

All of a request is in memory before the first object can be made, because bulk data may follow
what refers to it. Such requests are therefore small; objects of any size come as files.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from draw_dicomweb.services.media_types import DICOM_JSON, JSON, OCTETS, read_content_type
from draw_dicomweb.services.multipart_reader import Malformed, PartBegun
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from draw_shared.errors import Permanent
from draw_shared.storage.ingest import Incomprehensible, TransferSyntaxNotSupported
from draw_shared.wording import message

MAX_JSON_REQUEST_BYTES: Final = 32 * 1024**2
"""All parts of a request together."""
UTF_8: Final = "ISO_IR 192"
FILE_META_GROUP: Final = 2
Made = bytes | tuple[str, Permanent]
"""A Part 10 file, or the SOP Instance UID, if known, of what is none and why."""


class TooLongBody(Permanent):
    """The body is longer than what may be held in memory."""


class JsonParts:
    """The parts of one request."""

    def __init__(self) -> None:
        self._metadata: list[bytearray] = []
        self._bulk: dict[str, tuple[str, bytearray]] = {}
        self._part = bytearray()
        self._size = 0

    def begin(self, part: PartBegun) -> None:
        """Begin with the next part.

        Raises:
            Malformed: it is neither metadata nor bulk data with a location.
        """
        kind = read_content_type(part.headers.get("content-type", ""))[0]
        location = part.headers.get("content-location", "")
        self._part = bytearray()
        if kind in {DICOM_JSON, JSON} or not (kind or location):
            self._metadata.append(self._part)
        elif location:
            self._bulk[location] = kind, self._part
        else:
            raise Malformed(message("A part with bulk data has no Content-Location."))

    def write(self, chunk: bytes) -> None:
        """Take a piece of the part.

        Raises:
            TooLongBody: all parts together are too long.
        """
        self._size += len(chunk)
        if self._size > MAX_JSON_REQUEST_BYTES:
            raise TooLongBody(
                message(
                    "A request with metadata and bulk data has at most %(most)s MB; send larger"
                    " objects as application/dicom.",
                    most=MAX_JSON_REQUEST_BYTES // 1024**2,
                )
            )
        self._part += chunk

    def files(self) -> Iterator[Made]:
        """Yield what the metadata describes, in its order.

        Raises:
            Malformed: the metadata is not in the DICOM JSON Model.
        """
        for part in self._metadata:
            yield from map(self._file, _data_sets(bytes(part)))

    def _file(self, described: Mapping[str, Any]) -> Made:
        try:
            return self._encoded(described)
        except (Incomprehensible, TransferSyntaxNotSupported) as error:
            return _stated(described, "00080018"), error
        except Exception as error:  # noqa: BLE001 - pydicom fails in many ways on what is no data set
            return _stated(described, "00080018"), Incomprehensible(
                message("the metadata cannot be read: %(error)s", error=type(error).__name__)
            )

    def _encoded(self, described: Mapping[str, Any]) -> bytes:
        told = {tag: element for tag, element in described.items() if not tag.startswith("0002")}
        with warnings.catch_warnings():
            # Odd values are stored as they are told, as from any other sender.
            warnings.simplefilter("ignore")
            data_set = Dataset.from_json(told, self._bulk_data)
            # JSON is in UTF-8, whatever the object was in before.
            data_set.SpecificCharacterSet = UTF_8
            buffer = DicomBytesIO()
            buffer.is_little_endian, buffer.is_implicit_VR = True, False
            write_dataset(buffer, data_set)
        meta = FileMeta(
            _stated(described, "00080016"), _stated(described, "00080018"), EXPLICIT_LITTLE
        )
        return meta.encode() + buffer.getvalue()

    def _bulk_data(self, _tag: str, _vr: str, uri: str) -> bytes:
        if uri not in self._bulk:
            raise Incomprehensible(message("bulk data that the metadata refers to is missing"))
        kind, content = self._bulk[uri]
        if kind not in {"", OCTETS}:
            raise TransferSyntaxNotSupported(message("bulk data must be uncompressed"))
        return bytes(content) + b"\0" * (len(content) % 2)


def _data_sets(part: bytes) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(part)
    except (ValueError, RecursionError) as error:
        raise Malformed(message("The metadata is no JSON.")) from error
    found = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in found):
        raise Malformed(message("The metadata is not in the DICOM JSON Model."))
    return found


def _stated(described: Mapping[str, Any], tag: str) -> str:
    try:
        value = described[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return ""
    return value if isinstance(value, str) and value.isascii() else ""
