"""Sends C-STORE requests with stored bytes as they lie, on any association (PS3.7 9.1.1)."""

import mmap
import os
from typing import Final

from draw_shared.dicom import message
from draw_shared.dicom.message import DATA_SET, Field, Operation
from draw_shared.dicom.pdu import COMMAND, fragment_bytes, fragments
from draw_shared.dicom.service import Sendable, StoredFile
from draw_shared.dicom.wire import Wire

MAPPED_FROM: Final = 8 * 1024 * 1024
"""Files from this size on, bytes, are mapped instead of read, so that memory stays flat."""
LAST_MESSAGE_ID: Final = 65535
FRAGMENTS_AT_ONCE: Final = 256
"""Fragments of a data set that are prepared before they are written."""


class StoreSender:
    """Writes C-STORE requests; whoever uses it reads the answers."""

    def __init__(
        self,
        wire: Wire,
        peer_max_pdu: int,
        seconds: float,
        *,
        originator: tuple[str, int] | None = None,
    ) -> None:
        self._wire = wire
        self._peer_max_pdu = peer_max_pdu
        self._seconds = seconds
        self._originator = originator
        self._message_id = 0

    def send(self, data: Sendable, context_id: int, sop: tuple[str, str]) -> int:
        """Send one request and return its message id.

        Raises:
            OSError: the file cannot be read; nothing was sent.
            PeerClosed, PeerTooSlow: the connection failed.
        """
        if not isinstance(data, StoredFile):
            return self._send(data, context_id, sop)
        descriptor = os.open(data.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size >= MAPPED_FROM:
                with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                    whole = memoryview(mapped)
                    part = whole[data.data_set_offset :]
                    try:
                        return self._send(part, context_id, sop)
                    finally:
                        part.release()
                        whole.release()
            raw = os.pread(descriptor, size, data.data_set_offset)
        finally:
            os.close(descriptor)
        return self._send(raw, context_id, sop)

    def _send(self, payload: bytes | memoryview, context_id: int, sop: tuple[str, str]) -> int:
        self._message_id = self._message_id % LAST_MESSAGE_ID + 1
        fields: dict[Field, int | str | bytes] = {
            Field.AFFECTED_SOP_CLASS: sop[0],
            Field.COMMAND: Operation.C_STORE,
            Field.MESSAGE_ID: self._message_id,
            Field.PRIORITY: 0,
            Field.DATA_SET_TYPE: DATA_SET,
            Field.AFFECTED_SOP_INSTANCE: sop[1],
        }
        if self._originator is not None:
            fields[Field.MOVE_ORIGINATOR_AE] = self._originator[0]
            fields[Field.MOVE_ORIGINATOR_MESSAGE_ID] = self._originator[1]
        buffers = fragments(message.encode(fields), context_id, COMMAND, self._peer_max_pdu)
        stride = fragment_bytes(self._peer_max_pdu) * FRAGMENTS_AT_ONCE
        size = len(payload)
        with memoryview(payload) as whole:
            for at in range(0, max(size, 1), stride):
                with whole[at : at + stride] as part:
                    more = at + stride < size
                    buffers += fragments(part, context_id, 0, self._peer_max_pdu, more=more)
                    self._write(buffers)
                    buffers = []
        return self._message_id

    def _write(self, buffers: list[bytes | memoryview]) -> None:
        try:
            self._wire.send(buffers, self._seconds)
        finally:
            # Views of a mapped file must be gone before it is unmapped.
            for buffer in buffers:
                if isinstance(buffer, memoryview):
                    buffer.release()
