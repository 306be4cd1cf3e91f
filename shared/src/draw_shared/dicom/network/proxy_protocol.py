"""Reads the PROXY protocol, version 2: the client's address behind a trusted load balancer.

See the PROXY protocol specification (haproxy, doc/proxy-protocol.txt), section 2.2.
"""

import socket
import time
from ipaddress import ip_address
from struct import Struct
from typing import Final

from draw_shared.addresses import canonical
from draw_shared.dicom.network.pdu import ProtocolViolation
from draw_shared.wording import message

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEADER: Final = Struct("!12sBBH")
MAX_ADDRESSES_BYTES: Final = 2048
VERSION_LOCAL: Final = 0x20
VERSION_PROXY: Final = 0x21
ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
"""Length of an address for TCP over IPv4 and TCP over IPv6."""


def read_client_address(connection: socket.socket, seconds: float) -> str | None:
    """Return the client's address, or None if the proxy itself connects (health check).

    Raises:
        ProtocolViolation: there is no header of version 2, or it is malformed.
        OSError: the connection failed, or the header did not arrive in time.
    """
    deadline = time.monotonic() + seconds
    signature, version, family, length = HEADER.unpack(_exactly(connection, HEADER.size, deadline))
    if signature != SIGNATURE or version not in {VERSION_LOCAL, VERSION_PROXY}:
        raise ProtocolViolation(message("a trusted proxy sent no PROXY protocol v2 header"))
    if length > MAX_ADDRESSES_BYTES:
        raise ProtocolViolation(message("the PROXY protocol header is too long"))
    addresses = _exactly(connection, length, deadline)
    size = ADDRESS_BYTES.get(family)
    if version == VERSION_LOCAL or size is None:
        return None
    if length < 2 * size + 4:
        raise ProtocolViolation(message("the PROXY protocol header is cut short"))
    return canonical(str(ip_address(addresses[:size])))


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    raw = b""
    while len(raw) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(message("the PROXY protocol header was not completed in time"))
        connection.settimeout(left)
        part = connection.recv(size - len(raw))
        if not part:
            raise ConnectionError(message("closed by peer"))
        raw += part
    return raw
