"""Protocol data units of the upper layer: framing, reject, release, abort, P-DATA (PS3.8 9.3)."""

from enum import IntEnum
from struct import Struct
from typing import Final

from draw_shared.errors import Permanent
from draw_shared.wording import message

HEADER: Final = Struct(">BxI")
PDV_HEADER: Final = Struct(">IBB")
PDATA_PREFIX: Final = Struct(">BxIIBB")
HEADER_BYTES: Final = 6
PDV_OVERHEAD: Final = 6
MIN_PEER_PDU_BYTES: Final = 128
"""A peer that accepts less is not served: each byte would cost a PDU."""
MAX_PDU_BYTES: Final = 131072
"""Largest maximum length that can be configured; no PDU body may be longer."""

COMMAND: Final = 0x01
LAST: Final = 0x02


class PduType(IntEnum):
    """First byte of a PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortSource(IntEnum):
    """Who aborts (PS3.8 9.3.8)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class ProtocolViolation(Permanent):
    """The peer violated PS3.8 or PS3.7; the association is aborted with the given reason."""

    def __init__(
        self, what: str, reason: AbortReason = AbortReason.INVALID_PARAMETER_VALUE
    ) -> None:
        super().__init__(what)
        self.reason = reason


class OtherProtocol(ProtocolViolation):
    """The peer speaks something else than DICOM; the text names it."""


RELEASE_RQ: Final = HEADER.pack(PduType.RELEASE_RQ, 4) + b"\0\0\0\0"
RELEASE_RP: Final = HEADER.pack(PduType.RELEASE_RP, 4) + b"\0\0\0\0"


def abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """Return an A-ABORT PDU."""
    return HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, source, reason))


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return HEADER.pack(PduType.ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def pdvs(body: memoryview) -> list[tuple[int, int, memoryview]]:
    """Return (presentation context id, control header, fragment) of each item of a P-DATA body.

    Raises:
        ProtocolViolation: an item is longer than the PDU, or shorter than its own header, or
            there is none (PS3.8 9.3.5).
    """
    if not body:
        raise ProtocolViolation(message("a P-DATA PDU holds nothing"))
    items: list[tuple[int, int, memoryview]] = []
    at, end = 0, len(body)
    while at < end:
        if at + PDV_OVERHEAD > end:
            raise ProtocolViolation(message("a presentation data value is cut short"))
        length, context_id, control = PDV_HEADER.unpack_from(body, at)
        stop = at + 4 + length
        if length < 2 or stop > end:  # noqa: PLR2004 - context id and control header
            raise ProtocolViolation(message("a presentation data value overruns its PDU"))
        items.append((context_id, control, body[at + PDV_OVERHEAD : stop]))
        at = stop
    return items


def fragment_bytes(peer_max_pdu: int) -> int:
    """Return the length of the longest fragment that fits a PDU of the peer."""
    return min(peer_max_pdu or MAX_PDU_BYTES, MAX_PDU_BYTES) - PDV_OVERHEAD


def fragments(
    payload: bytes | memoryview,
    context_id: int,
    kind: int,
    peer_max_pdu: int,
    *,
    more: bool = False,
) -> list[bytes | memoryview]:
    """Return the buffers that carry `payload` as P-DATA PDUs, one item each.

    `kind` is COMMAND or 0. A maximum of 0 means that the peer sets no limit (PS3.8 D.1).
    With `more`, the last fragment is not marked as last. The payload is not copied.
    """
    step = fragment_bytes(peer_max_pdu)
    view = memoryview(payload)
    size = len(view)
    if size <= step and not more:
        prefix = PDATA_PREFIX.pack(PduType.P_DATA, size + 6, size + 2, context_id, kind | LAST)
        return [prefix, view]
    out: list[bytes | memoryview] = []
    for at in range(0, size, step):
        part = view[at : at + step]
        length = len(part)
        control = kind | LAST if at + step >= size and not more else kind
        out.append(PDATA_PREFIX.pack(PduType.P_DATA, length + 6, length + 2, context_id, control))
        out.append(part)
    return out
