"""Listening sockets: new ones, or a second one on the port of one that still listens.

No other program can take the port in between, and no peer is refused: the earlier socket is
closed only after the new one listens (both share the port for that moment, SO_REUSEPORT), the
earlier one admits no new connections, and its waiting ones have been accepted.
"""

import ctypes
import errno
import socket
import struct
from typing import Final

from draw_shared.errors import Transient
from draw_shared.wording import message

BACKLOG: Final = 1024
PRIVILEGED_BELOW: Final = 1024
SO_ATTACH_FILTER: Final = 26
"""asm-generic/socket.h."""
NO_SYN: Final = struct.pack(
    "=HBBI HBBI HBBI HBBI HBBI",
    *(0x30, 0, 0, 13),  # A = the flags in the TCP header
    *(0x54, 0, 0, 0x12),  # A &= SYN | ACK
    *(0x15, 0, 1, 0x02),  # SYN alone?
    *(0x06, 0, 0, 0),  # drop it; the peer sends it again,
    *(0x06, 0, 0, 0xFFFFFFFF),  # otherwise accept it.
)
"""A socket filter (instructions of linux/filter.h) that admits no new connection."""


class CannotListen(Transient):
    """Listening there is impossible at the moment; the text says why."""


def format_address(host: str, port: int) -> str:
    """Return an address and a port in the notation of people."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises:
        CannotListen: the address or the port cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind((host, port))
            made.listen(BACKLOG)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise CannotListen(_why(error, host, port)) from error
    return made


def listen_beside(earlier: socket.socket, host: str) -> socket.socket:
    """Return a socket that listens at another address on the port of `earlier`.

    Raises:
        CannotListen: the address cannot be bound, or another program has the port there.
    """
    port = int(earlier.getsockname()[1])
    shared = earlier.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    earlier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made = listen(host, port, reuse_port=True)
    finally:
        earlier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    return made


def turn_deaf(listener: socket.socket) -> None:
    """Admit no new connections on a socket, but let the ones under way complete.

    A peer that gets no answer tries again after a second; by then another socket may listen.
    """
    program = ctypes.create_string_buffer(NO_SYN, len(NO_SYN))
    filters = struct.pack("HP", len(NO_SYN) // 8, ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filters)


def _why(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return message("the name %(host)s has no address here", host=host)
    if error.errno == errno.EADDRINUSE:
        return message("%(host)s is in use by another program", host=format_address(host, port))
    if error.errno == errno.EADDRNOTAVAIL:
        return message("%(host)s is no address of this machine", host=host)
    if error.errno == errno.EACCES and port < PRIVILEGED_BELOW:
        return message(
            "port %(port)s is for root or the capability CAP_NET_BIND_SERVICE", port=port
        )
    return message(
        "%(host)s cannot be opened: %(strerror)s",
        host=format_address(host, port),
        strerror=error.strerror or error,
    )
