"""DIMSE command sets, decoded and encoded without a general data set (PS3.7 6.3, E)."""

from enum import IntEnum
from struct import Struct, pack
from typing import Final

from draw_shared.dicom.network.pdu import ProtocolViolation
from draw_shared.wording import message

NO_DATA_SET: Final = 0x0101
DATA_SET: Final = 0x0001
MAX_COMMAND_BYTES: Final = 16384
"""Longest accepted command set, bytes; real ones have a few hundred."""
MAX_MESSAGE_ID: Final = 65535

ELEMENT: Final = Struct("<HHI")
US: Final = Struct("<H")
_RESPONSE: Final = Struct("<" + "HHIH" * 4)
"""Four elements with US values."""
US_LENGTH: Final = 2
UL_LENGTH: Final = 4


class CommandElement(IntEnum):
    """Element numbers in group 0000 (PS3.7 E.1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    COMMAND = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_MESSAGE_ID = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE = 0x1000
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR_AE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


class Operation(IntEnum):
    """Command fields (PS3.7 E.1); those of responses have bit 15 set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF


RESPONSE: Final = 0x8000


class CommandSet(dict[int, bytes]):
    """The raw values of one command set by element number."""

    __slots__ = ()

    def number(self, field: CommandElement, default: int | None = None) -> int:
        """Return a US value.

        Raises:
            ProtocolViolation: it is absent without a default, or not two bytes long.
        """
        raw = self.get(field)
        if raw is None and default is not None:
            return default
        if raw is None or len(raw) != US_LENGTH:
            raise ProtocolViolation(
                message("command element %(field)s is missing or malformed", field=field.name)
            )
        return int.from_bytes(raw, "little")

    def text(self, field: CommandElement) -> str:
        """Return a UI or AE value without padding, empty if absent."""
        return self.get(field, b"").rstrip(b"\0 ").lstrip(b" ").decode("ascii", "replace")

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(CommandElement.DATA_SET_TYPE) != NO_DATA_SET


def decode(raw: bytes | bytearray) -> CommandSet:
    """Return the command set in `raw` (implicit VR little endian, group 0000 only).

    Raises:
        ProtocolViolation: it is malformed.
    """
    command = CommandSet()
    at, end = 0, len(raw)
    while at < end:
        if at + ELEMENT.size > end:
            raise ProtocolViolation(message("a command set is cut short"))
        group, element, length = ELEMENT.unpack_from(raw, at)
        at += ELEMENT.size
        if group != 0 or at + length > end:
            raise ProtocolViolation(message("a command set holds something else"))
        command[element] = bytes(raw[at : at + length])
        at += length
    return command


def _value(value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return US.pack(value)
    if isinstance(value, bytes):
        return value
    raw = value.encode("ascii", "replace")
    if len(raw) % 2 == 0:
        return raw
    # UIDs are padded with NUL, AE titles and text with a space (PS3.5 6.2).
    return raw + (b"\0" if raw[:1].isdigit() and b"." in raw else b" ")


def encode(fields: dict[CommandElement, int | str | bytes]) -> bytes:
    """Return a command set with its group length; numbers become US, text gets an even length."""
    body = bytearray()
    for element in sorted(fields):
        raw = _value(fields[element])
        body += ELEMENT.pack(0, element, len(raw))
        body += raw
    return pack("<HHII", 0, 0, UL_LENGTH, len(body)) + bytes(body)


def response(
    request: CommandSet, operation: int, status: int, comment: str = "", *, data_set: bool = False
) -> bytes:
    """Return the command set that answers `request` with `status`.

    Raises:
        ProtocolViolation: the request has no message id.
    """
    sop_class = request.get(CommandElement.AFFECTED_SOP_CLASS)
    sop_instance = request.get(CommandElement.AFFECTED_SOP_INSTANCE)
    # Speed matters, as every message is answered: the elements are listed in order, not sorted.
    body = b"".join(
        (
            _element(CommandElement.AFFECTED_SOP_CLASS, sop_class) if sop_class else b"",
            _RESPONSE.pack(
                *(0, CommandElement.COMMAND, US_LENGTH, (operation | RESPONSE) & 0xFFFF),
                *(
                    0,
                    CommandElement.RESPONDED_MESSAGE_ID,
                    US_LENGTH,
                    request.number(CommandElement.MESSAGE_ID),
                ),
                *(
                    0,
                    CommandElement.DATA_SET_TYPE,
                    US_LENGTH,
                    DATA_SET if data_set else NO_DATA_SET,
                ),
                *(0, CommandElement.STATUS, US_LENGTH, status),
            ),
            _element(CommandElement.ERROR_COMMENT, _value(comment[:64])) if comment else b"",
            _element(CommandElement.AFFECTED_SOP_INSTANCE, sop_instance) if sop_instance else b"",
        )
    )
    return pack("<HHII", 0, 0, UL_LENGTH, len(body)) + body


def _element(field: CommandElement, raw: bytes) -> bytes:
    return ELEMENT.pack(0, field, len(raw)) + raw
