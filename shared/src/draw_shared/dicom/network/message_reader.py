"""Reads messages from P-DATA: command sets and data sets by fragments (PS3.7 6.3, PS3.8 E).

Data sets are not kept here and command sets are bounded, so memory use does not depend on what a
peer sends. A peer must make progress: a command set that has begun must be complete within a
deadline, and a data set must bring a least number of bytes in each window.
"""

import time
from collections.abc import Callable
from typing import Final

from draw_shared import wording
from draw_shared.dicom.network import message
from draw_shared.dicom.network.message import CommandSet
from draw_shared.dicom.network.pdu import (
    COMMAND,
    LAST,
    RELEASE_RP,
    AbortReason,
    PduType,
    ProtocolViolation,
    pdvs,
)
from draw_shared.dicom.network.wire import PDU_TIMEOUT_SECONDS, PeerTooSlow, Wire

MAX_IDENTIFIER_BYTES: Final = 262144
"""Longest identifier of a request: any peer may send one on each of its associations."""
MIN_BYTES_PER_TIMEOUT: Final = 1024
"""Bytes of a data set that must arrive in each PDU_TIMEOUT_SECONDS, without headers."""

ReadPdu = Callable[..., tuple[int, memoryview]]
"""Reads a PDU like `Wire.read_pdu`, and may do something else while it waits."""


class AbortedByPeer(ConnectionError):
    """The peer sent A-ABORT."""


class ReleasedByPeer(Exception):
    """The peer requested release, and got its answer."""


class MessageReader:
    """Reads the messages of the peer of an established association.

    Args:
        read_pdu: replaces `wire.read_pdu`.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        dimse_seconds: float,
        acse_seconds: float,
        read_pdu: ReadPdu | None = None,
    ) -> None:
        self._wire = wire
        self._read_pdu = read_pdu or wire.read_pdu
        self._dimse_seconds = dimse_seconds
        self._acse_seconds = acse_seconds
        # Unused items of the last PDU: it may end one message and begin the next.
        self._items: list[tuple[int, int, memoryview]] = []
        self._next = 0

    def waiting(self) -> bool:
        """Return whether received data waits to be read."""
        return self._next < len(self._items) or self._wire.waiting()

    def command(self, idle_seconds: float) -> tuple[int, CommandSet]:
        """Return the context id and the command set of the next message.

        Raises:
            ReleasedByPeer | AbortedByPeer | PeerClosed | PeerTooSlow | ProtocolViolation:
                no message came.
        """
        context_id, control, part = self._item(idle_seconds)
        first, raw = context_id, bytearray()
        whole_by = time.monotonic() + PDU_TIMEOUT_SECONDS
        while True:
            if not control & COMMAND or context_id != first:
                raise ProtocolViolation(
                    wording.message("expected a command"), AbortReason.UNEXPECTED_PARAMETER
                )
            if len(raw) + len(part) > message.MAX_COMMAND_BYTES:
                raise ProtocolViolation(wording.message("a command set is too long"))
            raw += part
            if control & LAST:
                return first, message.decode(raw)
            context_id, control, part = self._item(self._dimse_seconds, whole_by)

    def data_set(self, context_id: int, take: Callable[[memoryview], None], limit: int) -> None:
        """Pass each fragment of the data set that follows to `take`."""
        total = seen = 0
        window_ends = time.monotonic() + PDU_TIMEOUT_SECONDS
        while True:
            while self._next < len(self._items):
                found_id, control, part = self._items[self._next]
                self._next += 1
                if control & COMMAND or found_id != context_id:
                    raise ProtocolViolation(
                        wording.message("expected a data set"), AbortReason.UNEXPECTED_PARAMETER
                    )
                total += len(part)
                if total > limit:
                    raise ProtocolViolation(wording.message("a data set is too long"))
                take(part)
                if control & LAST:
                    return
            total += self._middle(context_id, take, limit - total)
            self._read_items(self._dimse_seconds)
            if time.monotonic() > window_ends:
                if total - seen < MIN_BYTES_PER_TIMEOUT:
                    raise PeerTooSlow(wording.message("a data set makes no progress"))
                window_ends, seen = time.monotonic() + PDU_TIMEOUT_SECONDS, total

    def _middle(self, context_id: int, take: Callable[[memoryview], None], limit: int) -> int:
        """Pass on what has arrived of the middle of a data set, and return its length."""
        joined = b"".join(self._wire.fragments_at_hand(context_id))
        if len(joined) > limit:
            raise ProtocolViolation(wording.message("a data set is too long"))
        if joined:
            take(memoryview(joined))
        return len(joined)

    def identifier(self, context_id: int, limit: int = MAX_IDENTIFIER_BYTES) -> bytes:
        """Return the identifier that follows."""
        raw = bytearray()
        self.data_set(context_id, raw.extend, limit)
        return bytes(raw)

    def _item(
        self, idle_seconds: float, whole_by: float | None = None
    ) -> tuple[int, int, memoryview]:
        if self._next == len(self._items):
            self._read_items(idle_seconds, whole_by)
        item = self._items[self._next]
        self._next += 1
        return item

    def _read_items(self, idle_seconds: float, whole_by: float | None = None) -> None:
        self._items = pdvs(self._data(idle_seconds, whole_by))
        self._next = 0

    def _data(self, idle_seconds: float, whole_by: float | None) -> memoryview:
        """Return the body of the next P-DATA PDU; any other PDU ends the association."""
        kind, body = self._read_pdu(idle_seconds, whole_by=whole_by)
        if kind == PduType.P_DATA:
            return body
        if kind == PduType.RELEASE_RQ:
            self._wire.send([RELEASE_RP], self._acse_seconds)
            raise ReleasedByPeer
        if kind == PduType.ABORT:
            raise AbortedByPeer
        raise ProtocolViolation(
            wording.message("this PDU does not belong here"), AbortReason.UNEXPECTED_PDU
        )
