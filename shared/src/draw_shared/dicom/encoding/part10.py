"""The preamble and file meta group of Part 10 files, as bytes (PS3.10 7.1)."""

import json
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Final, NamedTuple

from pydantic_core import to_json

from draw_shared.dicom.encoding.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    PRIVATE_INFORMATION_CREATOR,
)
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.wording import message

PREFIX: Final = b"DICM"
PREAMBLE: Final = bytes(128) + PREFIX
SHORT: Final = Struct("<HH2sH")
LONG: Final = Struct("<HH2sHI")
MAX_META_BYTES: Final = 65536
META_START: Final = len(PREAMBLE) + 12
"""Where the elements after the group length begin."""

MAX_CACHED_ELEMENTS: Final = 512
"""Cached encoded elements: all but the instance's are the same for a whole association."""

LONG_VRS: Final = frozenset((b"OB", b"UR", b"UN", b"UT", b"UC"))
LENGTH: Final = Struct("<I")
GROUP_LENGTH: Final = SHORT.pack(2, 0, b"UL", 4)
TRANSFER_SYNTAX: Final = 0x0010


class FileMeta(NamedTuple):
    """The file meta group of one object, with its origin.

    `provenance` is stored as JSON in Private Information (0002,0102): the association, the move
    originator and whatever else an announcement needs after a crash.
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
        """Return the preamble, the prefix and the file meta group."""
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
        return PREAMBLE + GROUP_LENGTH + LENGTH.pack(len(body)) + body


@lru_cache(MAX_CACHED_ELEMENTS)
def _text(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\0" if vr == b"UI" else b" "
    return SHORT.pack(2, element, vr, len(raw)) + raw


OURS: Final = _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
"""Present only in groups that we write, whose length is reliable."""


@lru_cache(MAX_CACHED_ELEMENTS)
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

    `head` needs at most the first 64 KiB. Files of other writers are read too; provenance is
    read only from a group that states its length, as ours do.

    Raises:
        Undecodable: this is not a Part 10 file, or its meta group is malformed.
    """
    said = _said_end(head)
    end = _end(head, said)
    values = {element: bytes(head[start:at]) for element, start, at in _elements(head, end)}
    return (
        FileMeta(
            _read(values, 0x0002),
            _read(values, 0x0003),
            _read(values, 0x0010),
            _read(values, 0x0017) or _read(values, 0x0016),
            _read(values, 0x0018),
            _host(values, 0x0027),
            _host(values, 0x0028),
            _provenance(values) if said == end else {},
        ),
        end,
    )


def data_set_offset(head: bytes | memoryview) -> int:
    """Return where the data set of a file begins: where (0002,0000) says (PS3.10 7.1).

    A data set may itself contain elements of group 0002, left there by devices. The length of
    another writer is trusted if it ends with an element and covers the transfer syntax; otherwise
    the data set begins with the first other group.

    Raises:
        Undecodable: this is not a Part 10 file, or its meta group is malformed.
    """
    return _end(head, _said_end(head))


def _end(head: bytes | memoryview, said: int) -> int:
    if said and (OURS in bytes(head[META_START:said]) or _is_believed(head, said)):
        return said
    at = max((end for _, _, end in _elements(head, len(head))), default=len(PREAMBLE))
    if len(head) - at < SHORT.size:
        raise Undecodable(message("the file meta group is cut short"))
    return at


def _is_believed(head: bytes | memoryview, said: int) -> bool:
    try:
        ends = {element: end for element, _, end in _elements(head, said)}
    except Undecodable:
        return False
    return TRANSFER_SYNTAX in ends and said in ends.values()


def _said_end(head: bytes | memoryview) -> int:
    """Return where the group ends according to its length, or 0 if `head` has no length.

    Raises:
        Undecodable: this is not a Part 10 file.
    """
    first = bytes(head[128:META_START])
    if not first.startswith(PREFIX):
        raise Undecodable(message("no DICM prefix"))
    if len(first) < META_START - 128 or not first.startswith(PREFIX + GROUP_LENGTH):
        return 0
    end: int = META_START + LENGTH.unpack_from(first, len(first) - 4)[0]
    return end if end <= len(head) else 0


def _elements(head: bytes | memoryview, end: int) -> list[tuple[int, int, int]]:
    """Return (element, start of its value, end) of all consecutive elements of group 0002."""
    at = len(PREAMBLE)
    found: list[tuple[int, int, int]] = []
    unpack, size = SHORT.unpack_from, SHORT.size
    while at + size <= end:
        group, element, vr, length = unpack(head, at)
        if group != 2:  # noqa: PLR2004 - the file meta group
            break
        start = at + size
        if vr in LONG_VRS:
            if start + 4 > end:
                raise Undecodable(message("the file meta group is cut short"))
            length = LENGTH.unpack_from(head, start)[0]
            start += 4
        at = start + length
        if at > end:
            raise Undecodable(message("the file meta group is cut short"))
        found.append((element, start, at))
    return found


def _provenance(values: Mapping[int, bytes]) -> dict[str, str | int]:
    """Return our private information; damaged information is empty."""
    if values.get(0x0100, b"").rstrip(b"\0") != PRIVATE_INFORMATION_CREATOR.encode():
        return {}
    try:
        told = json.loads(values.get(0x0102, b"{}"))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _read(values: Mapping[int, bytes], element: int) -> str:
    return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _host(values: Mapping[int, bytes], element: int) -> str:
    return _read(values, element).removeprefix("dicom://").strip("[]")
