"""The preamble and file meta group of Part 10 files, as bytes (PS3.10 7.1)."""

import json
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct, pack
from types import MappingProxyType
from typing import Final, NamedTuple

from pydantic_core import to_json

from draw_shared.dicom.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    PRIVATE_INFORMATION_CREATOR,
)
from draw_shared.dicom.scan import Undecodable

PREAMBLE: Final = b"\0" * 128 + b"DICM"
SHORT: Final = Struct("<HH2sH")
LONG: Final = Struct("<HH2sHI")
LONGEST_META: Final = 65536
META_START: Final = len(PREAMBLE) + 12
"""Where the elements behind the group length begin."""

REMEMBERED: Final = 512
"""Encoded elements that are kept: all but the instance's are the same for a whole association."""

LONG_VRS: Final = frozenset((b"OB", b"UR", b"UN", b"UT", b"UC"))


class FileMeta(NamedTuple):
    """The file meta group of one object, with where it came from.

    `provenance` lies as JSON in Private Information (0002,0102): the association, the
    move originator and whatever else an announcement needs after a crash.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sending_ae: str = ""
    receiving_ae: str = ""
    sending_address: str = ""
    receiving_address: str = ""
    provenance: Mapping[str, str | int] = MappingProxyType({})

    def encode(self) -> bytes:
        """Return preamble, prefix and file meta group."""
        private = to_json(dict(self.provenance))
        body = b"".join(
            (
                LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1",
                _text(0x0002, b"UI", self.sop_class_uid),
                _text.__wrapped__(0x0003, b"UI", self.sop_instance_uid),
                _text(0x0010, b"UI", self.transfer_syntax_uid),
                _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                _text(0x0013, b"SH", IMPLEMENTATION_VERSION),
                _text(0x0016, b"AE", self.sending_ae),
                _text(0x0017, b"AE", self.sending_ae),
                _text(0x0018, b"AE", self.receiving_ae),
                _address(0x0026, self.sending_address),
                _address(0x0027, self.sending_address),
                _address(0x0028, self.receiving_address),
                _text(0x0100, b"UI", PRIVATE_INFORMATION_CREATOR),
                LONG.pack(2, 0x0102, b"OB", 0, len(private) + len(private) % 2),
                private,
                b" " * (len(private) % 2),
            )
        )
        return PREAMBLE + SHORT.pack(2, 0, b"UL", 4) + pack("<I", len(body)) + body


@lru_cache(REMEMBERED)
def _text(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\0" if vr == b"UI" else b" "
    return SHORT.pack(2, element, vr, len(raw)) + raw


@lru_cache(REMEMBERED)
def _address(element: int, address: str) -> bytes:
    """Return a presentation address; UR holds a URI (PS3.10 7.1, PS3.5 6.2)."""
    if not address:
        return b""
    host = f"[{address}]" if ":" in address else address
    raw = f"dicom://{host}".encode("ascii", "replace")
    raw += b" " * (len(raw) % 2)
    return LONG.pack(2, element, b"UR", 0, len(raw)) + raw


def decode(head: bytes | memoryview) -> tuple[FileMeta, int]:
    """Return the file meta group at the beginning of a file, and where the data set begins.

    `head` needs the first 64 KiB at most. Files of other writers are read as well.

    Raises:
        Undecodable: this is not a Part 10 file, or its meta group is malformed.
    """
    values, end = _elements(bytes(head[: LONGEST_META + META_START]))
    private: dict[str, str | int] = {}
    if values.get(0x0100, b"").rstrip(b"\0") == PRIVATE_INFORMATION_CREATOR.encode():
        try:
            private = json.loads(values.get(0x0102, b"{}"))
        except ValueError as broken:
            raise Undecodable("the private information of the file meta group") from broken
    return (
        FileMeta(
            _read(values, 0x0002),
            _read(values, 0x0003),
            _read(values, 0x0010),
            _read(values, 0x0017) or _read(values, 0x0016),
            _read(values, 0x0018),
            _host(values, 0x0027),
            _host(values, 0x0028),
            private,
        ),
        end,
    )


def _read(values: Mapping[int, bytes], element: int) -> str:
    return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _host(values: Mapping[int, bytes], element: int) -> str:
    return _read(values, element).removeprefix("dicom://").strip("[]")


def _elements(head: bytes) -> tuple[dict[int, bytes], int]:
    if head[: len(PREAMBLE)][128:] != b"DICM":
        raise Undecodable("no DICM prefix")
    at = len(PREAMBLE)
    end = len(head)
    values: dict[int, bytes] = {}
    while at + SHORT.size <= end:
        group, element, vr, length = SHORT.unpack_from(head, at)
        if group != 2:  # noqa: PLR2004 - the file meta group
            break
        start = at + SHORT.size
        if vr in LONG_VRS:
            if start + 4 > end:
                raise Undecodable("the file meta group is cut short")
            length = LONG.unpack_from(head, at)[4]
            start += 4
        at = start + length
        if at > end:
            raise Undecodable("the file meta group is cut short")
        values[element] = head[start:at]
    return values, at
