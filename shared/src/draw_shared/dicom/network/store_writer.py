"""Sends C-STORE requests, with stored bytes or streams, on any association (PS3.7 9.1.1)."""

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final

from draw_shared.dicom.network import message
from draw_shared.dicom.network.message import DATA_SET, CommandElement, Operation
from draw_shared.dicom.network.pdu import COMMAND, fragment_bytes, fragments
from draw_shared.dicom.network.service import CutShort, Sendable, StoredDataSet
from draw_shared.errors import Permanent

MIN_MAPPED_BYTES: Final = 8 * 1024 * 1024
"""Files from this size on, bytes, are mapped instead of read, to keep memory use low."""
FRAGMENTS_AT_ONCE: Final = 256
"""Fragments of a data set that are prepared for one write."""

Send = Callable[[Sequence[bytes | memoryview]], None]


class StoreWriter:
    """Writes C-STORE requests with `send`; the caller reads the answers."""

    def __init__(
        self, send: Send, peer_max_pdu: int, *, originator: tuple[str, int] | None = None
    ) -> None:
        self._send = send
        self._peer_max_pdu = peer_max_pdu
        self._originator = originator
        self._message_id = 0

    def write(self, data: Sendable, context_id: int, sop: tuple[str, str]) -> int:
        """Send one request and return its message id.

        Raises:
            OSError | Permanent: the data set cannot be had; nothing was sent.
            CutShort: it broke off after a part of it was sent.
            Exception: what `send` raises.
        """
        if isinstance(data, bytes | memoryview):
            return self._write(data, context_id, sop)
        if not isinstance(data, StoredDataSet):
            with closing(data.chunks()) as chunks:
                return self._write_stream(chunks, context_id, sop)
        descriptor = os.open(data.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size >= MIN_MAPPED_BYTES:
                with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                    whole = memoryview(mapped)
                    part = whole[data.data_set_offset :]
                    try:
                        return self._write(part, context_id, sop)
                    finally:
                        part.release()
                        whole.release()
            raw = os.pread(descriptor, size, data.data_set_offset)
        finally:
            os.close(descriptor)
        return self._write(raw, context_id, sop)

    def _write(self, payload: bytes | memoryview, context_id: int, sop: tuple[str, str]) -> int:
        buffers = self._command(context_id, sop)
        stride = fragment_bytes(self._peer_max_pdu) * FRAGMENTS_AT_ONCE
        size = len(payload)
        with memoryview(payload) as whole:
            for at in range(0, max(size, 1), stride):
                with whole[at : at + stride] as part:
                    more = at + stride < size
                    buffers += fragments(part, context_id, 0, self._peer_max_pdu, more=more)
                    self._flush(buffers)
                    buffers = []
        return self._message_id

    def _write_stream(self, chunks: Iterator[bytes], context_id: int, sop: tuple[str, str]) -> int:
        # Started before the command is sent, so that a failure at the start sends nothing.
        part: bytes | None = next(chunks, b"")
        buffers = self._command(context_id, sop)
        while part is not None:
            try:
                following = next(chunks, None)
            except (Permanent, OSError) as error:
                raise CutShort(sop[1], str(error)) from error
            more = following is not None
            buffers += fragments(part, context_id, 0, self._peer_max_pdu, more=more)
            self._flush(buffers)
            buffers = []
            part = following
        return self._message_id

    def _command(self, context_id: int, sop: tuple[str, str]) -> list[bytes | memoryview]:
        self._message_id = self._message_id % message.MAX_MESSAGE_ID + 1
        fields: dict[CommandElement, int | str | bytes] = {
            CommandElement.AFFECTED_SOP_CLASS: sop[0],
            CommandElement.COMMAND: Operation.C_STORE,
            CommandElement.MESSAGE_ID: self._message_id,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
            CommandElement.AFFECTED_SOP_INSTANCE: sop[1],
        }
        if self._originator is not None:
            fields[CommandElement.MOVE_ORIGINATOR_AE] = self._originator[0]
            fields[CommandElement.MOVE_ORIGINATOR_MESSAGE_ID] = self._originator[1]
        return fragments(message.encode(fields), context_id, COMMAND, self._peer_max_pdu)

    def _flush(self, buffers: list[bytes | memoryview]) -> None:
        try:
            self._send(buffers)
        finally:
            # Views of a mapped file must be released before it is unmapped.
            for buffer in buffers:
                if isinstance(buffer, memoryview):
                    buffer.release()
