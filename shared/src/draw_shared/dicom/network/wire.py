"""One connection: reads whole PDUs, writes buffers, with a deadline for every wait.

The reader has one buffer. It grows with the data that has really arrived, up to two of the
longest PDUs. A false length therefore costs nothing: it is refused before anything is allocated,
and a silent connection occupies a few kilobytes.

On a plain socket the kernel keeps the time (SO_RCVTIMEO, SO_SNDTIMEO): waiting then needs no
system call of its own, each of which would release the interpreter lock.
"""

import select
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from struct import pack
from typing import Final

from draw_shared.dicom.network.pdu import (
    HEADER,
    HEADER_BYTES,
    MAX_PDU_BYTES,
    PDATA_PREFIX,
    PDV_OVERHEAD,
    AbortReason,
    OtherProtocol,
    PduType,
    ProtocolViolation,
)
from draw_shared.wording import message

BUFFER_BYTES: Final = 2 * (MAX_PDU_BYTES + HEADER_BYTES)
FIRST_BUFFER_BYTES: Final = 4096
KERNEL_TIMEOUT_SECONDS: Final = 1.0
"""How long the kernel itself waits for data to read; longer waits are polled."""
PDU_TIMEOUT_SECONDS: Final = 10.0
"""A PDU that has begun must be complete within this time, whatever the peer sends."""
MAX_CONTROL_PDU_BYTES: Final = 4
SINGLE_OVERHEAD: Final = HEADER_BYTES + PDV_OVERHEAD
"""Bytes before the fragment in a P-DATA PDU that holds a single one."""
ITEM_LENGTH_BYTES: Final = 4
TLS_HANDSHAKE: Final = 0x16
"""First byte of a ClientHello (RFC 8446 5.1); no PDU type has this value."""
TLS_ALERT: Final = 0x15
"""First byte of an alert, with which TLS answers what is not TLS (RFC 8446 5.1); no PDU type."""
HTTP_RESPONSE: Final = ord("H")
"""First byte of a status line (RFC 9112 4); no type of PDU."""
TOLERANCE_BYTES: Final = 1024
"""By how much a P-DATA PDU may exceed the announced length; some peers count headers otherwise."""
MAX_BUFFERS: Final = 512
"""Buffers passed to one sendmsg call; Linux accepts 1,024."""
MAX_JOINED_BUFFERS: Final = 64
"""Buffers joined for one TLS write, so that a large object is never in memory as a whole."""

_LIMITS: Final = {
    PduType.ASSOCIATE_RQ: MAX_PDU_BYTES,
    PduType.ASSOCIATE_AC: MAX_PDU_BYTES,
    PduType.P_DATA: MAX_PDU_BYTES,
    PduType.ASSOCIATE_RJ: MAX_CONTROL_PDU_BYTES,
    PduType.RELEASE_RQ: MAX_CONTROL_PDU_BYTES,
    PduType.RELEASE_RP: MAX_CONTROL_PDU_BYTES,
    PduType.ABORT: MAX_CONTROL_PDU_BYTES,
}


class PeerClosed(ConnectionError):
    """The peer closed or reset the connection."""


class PeerTooSlow(TimeoutError):
    """Nothing, or not enough, arrived within the time allowed."""


class Wire:
    """Reads and writes PDUs on a connected socket, plain or TLS."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray(FIRST_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._begin = 0
        self._end = 0
        self._timeout: float | None = None
        self._encrypted = isinstance(connection, ssl.SSLSocket)
        self._longest_data = MAX_PDU_BYTES
        self._unacknowledged = False
        self._quick = connection.family in {socket.AF_INET, socket.AF_INET6}
        if self._quick:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._encrypted:
            connection.settimeout(None)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(KERNEL_TIMEOUT_SECONDS)
            )

    def limit_data(self, announced: int) -> None:
        """Refuse P-DATA PDUs longer than announced, with some tolerance."""
        self._longest_data = min(MAX_PDU_BYTES, announced + TOLERANCE_BYTES)
        self._grow_to(BUFFER_BYTES)

    def read_pdu(
        self, idle_seconds: float, *, whole_by: float | None = None
    ) -> tuple[int, memoryview]:
        """Return the type and body of the next PDU; the body is valid until the next call.

        Waits up to `idle_seconds` for its first byte. `whole_by` is the time on the monotonic clock
        by which it must be complete.

        Raises:
            PeerTooSlow: it did not arrive, or not completely, in time.
            PeerClosed: the connection ended.
            ProtocolViolation: the type is unknown, or the PDU longer than its type allows.
        """
        deadline = whole_by
        while True:
            held = self._end - self._begin
            if held >= HEADER_BYTES:
                kind, length = HEADER.unpack_from(self._buffer, self._begin)
                if length > _LIMITS.get(kind, -1) or (
                    kind == PduType.P_DATA and length > self._longest_data
                ):
                    raise _oversize(kind)
                if held >= HEADER_BYTES + length:
                    start = self._begin + HEADER_BYTES
                    self._begin = start + length
                    return kind, self._view[start : start + length]
            if held and deadline is None:
                deadline = time.monotonic() + min(PDU_TIMEOUT_SECONDS, idle_seconds)
            self._fill(idle_seconds if deadline is None else _left_until(deadline))

    def fragments_at_hand(self, context_id: int) -> list[memoryview]:
        """Return what has arrived of the middle of a data set: whole PDUs of one fragment each.

        Most of a large data set arrives in such PDUs, and reading each separately costs more than
        copying it. Stops before any other PDU, which `read_pdu` returns next; the fragments are
        valid until that call.
        """
        found: list[memoryview] = []
        at, end = self._begin, self._end
        while end - at > SINGLE_OVERHEAD:
            kind, length, item, found_id, control = PDATA_PREFIX.unpack_from(self._buffer, at)
            stop = at + HEADER_BYTES + length
            if (
                kind != PduType.P_DATA
                or item != length - ITEM_LENGTH_BYTES
                or found_id != context_id
                or control
                or length > self._longest_data
                or not at + SINGLE_OVERHEAD <= stop <= end
            ):
                break
            found.append(self._view[at + SINGLE_OVERHEAD : stop])
            at = stop
        self._begin = at
        return found

    def _fill(self, seconds: float) -> None:
        self._make_room()
        if self._unacknowledged and self._quick:
            # Linux falls back to delayed ACKs by itself; senders with Nagle's algorithm then
            # wait 40 ms for each message. An answer carries its own ACK.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        try:
            count = self._receive(self._view[self._end :], seconds)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError) as error:
            raise PeerTooSlow(message("nothing came in time")) from error
        except OSError as error:
            raise PeerClosed(_why_broken(error)) from error
        if not count:
            raise PeerClosed(message("closed by peer"))
        self._unacknowledged = True
        self._end += count

    def _make_room(self) -> None:
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._end == len(self._buffer) and not self._begin:
            self._grow_to(min(4 * self._end, BUFFER_BYTES))
        elif len(self._buffer) - self._end < len(self._buffer) // 2:
            held = self._end - self._begin
            self._buffer[:held] = self._buffer[self._begin : self._end]
            self._begin, self._end = 0, held

    def _grow_to(self, size: int) -> None:
        if size > len(self._buffer):
            grown = bytearray(size)
            grown[: self._end] = self._view[: self._end]
            self._buffer, self._view = grown, memoryview(grown)

    def _receive(self, into: memoryview, seconds: float) -> int:
        """Read data, or wait for it; TimeoutError or BlockingIOError if none came in time."""
        if self._encrypted:
            self._set_timeout(seconds)
            return self._socket.recv_into(into)
        if seconds >= KERNEL_TIMEOUT_SECONDS:
            with suppress(BlockingIOError):
                return self._socket.recv_into(into)
            seconds -= KERNEL_TIMEOUT_SECONDS
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        if not poller.poll(max(seconds, 0) * 1000):
            raise TimeoutError
        return self._socket.recv_into(into)

    def _set_timeout(self, seconds: float) -> None:
        """Limit the time of later calls: all calls of a TLS socket, writes of a plain one."""
        if seconds == self._timeout:
            return
        if self._encrypted:
            self._socket.settimeout(seconds)
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(seconds))
        self._timeout = seconds

    def waiting(self) -> bool:
        """Return whether the peer has sent data that is not read yet."""
        if self.holds:
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def send(self, buffers: Sequence[bytes | memoryview], seconds: float) -> None:
        """Send all buffers in as few writes as possible.

        Raises:
            PeerTooSlow: the peer does not read.
            PeerClosed: the connection ended.
        """
        self._unacknowledged = False
        try:
            self._set_timeout(seconds)
            if len(buffers) == 1:
                self._socket.sendall(buffers[0])
            elif self._encrypted:
                for at in range(0, len(buffers), MAX_JOINED_BUFFERS):
                    self._socket.sendall(b"".join(buffers[at : at + MAX_JOINED_BUFFERS]))
            else:
                self._send_gathered(buffers)
        except (BlockingIOError, TimeoutError) as error:
            raise PeerTooSlow(message("the peer does not read")) from error
        except OSError as error:
            raise PeerClosed(_why_broken(error)) from error

    def _send_gathered(self, buffers: Sequence[bytes | memoryview]) -> None:
        rest = iter(buffers)
        while group := list(islice(rest, MAX_BUFFERS)):
            left = sum(map(len, group))
            while left:
                sent = self._socket.sendmsg(group)
                left -= sent
                if left:
                    group = _after(group, sent)

    @property
    def descriptor(self) -> int:
        """The file descriptor of the connection, for another process that continues it."""
        return self._socket.fileno()

    @property
    def holds(self) -> bool:
        """Whether data was read that is not used yet."""
        return self._end > self._begin

    @property
    def encrypted(self) -> bool:
        """Whether it uses TLS; reads and writes must then come from one thread."""
        return self._encrypted

    def interrupt(self) -> None:
        """End the reads and writes of the serving thread; any thread may call this.

        The descriptor stays open: if it were closed here, its number could be given to another
        connection while that thread still waits on it.
        """
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; what the peer has not read yet may be lost."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def close_politely(self, seconds: float) -> None:
        """Close after the peer had time to read the last PDU (PS3.8 9.2, state 13)."""
        with suppress(OSError):
            deadline = time.monotonic() + seconds
            if not self._encrypted:
                self._socket.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0 and self._receive(self._view, left):
                pass
        self.close()


def _timeval(seconds: float) -> bytes:
    """Return a waiting time in the form of the kernel, for which 0 means for ever."""
    micro = max(1, int(seconds * 1e6))
    return pack("ll", micro // 1_000_000, micro % 1_000_000)


def _left_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise PeerTooSlow(message("a PDU was not completed in time"))
    return left


def _oversize(kind: int) -> ProtocolViolation:
    if kind == TLS_ALERT:
        return OtherProtocol(
            message("this port speaks TLS, and was called without TLS"),
            AbortReason.UNRECOGNIZED_PDU,
        )
    if kind == TLS_HANDSHAKE:
        return ProtocolViolation(
            message("the peer speaks TLS on a port without it"), AbortReason.UNRECOGNIZED_PDU
        )
    if kind == HTTP_RESPONSE:
        return OtherProtocol(
            message("this is a web server (HTTP), not DICOM"), AbortReason.UNRECOGNIZED_PDU
        )
    if kind not in _LIMITS:
        return ProtocolViolation(
            message("PDU type 0x%(kind)s is unknown", kind=format(kind, "02X")),
            AbortReason.UNRECOGNIZED_PDU,
        )
    return ProtocolViolation(message("a PDU claims to be longer than allowed"))


def _after(buffers: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """Return the part of `buffers` that remains after `sent` bytes."""
    for position, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[position + 1 :]]
        sent -= len(buffer)
    return []


def _why_broken(error: OSError) -> str:
    """Return in words why a connection can no longer be used."""
    if isinstance(error, ConnectionResetError):
        return message("the peer has reset the connection")
    if isinstance(error, BrokenPipeError):
        return message("the peer has closed the connection")
    if isinstance(error, ssl.SSLError):
        return message("the TLS connection broke: %(reason)s", reason=error.reason or "EOF")
    reason = error.strerror or type(error).__name__
    return message("the connection broke: %(reason)s", reason=reason)
