"""Says in our words why a connection failed; those of the operating system have no translation."""

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from draw_shared.wording import message

NAMES: Final[Mapping[int, str]] = {
    socket.EAI_NONAME: message("the name is not known"),
    socket.EAI_NODATA: message("the name has no address"),
    socket.EAI_AGAIN: message("the name server does not answer"),
    socket.EAI_FAIL: message("the name server could not look the name up"),
}
CONNECTIONS: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: message("Connection refused"),
    errno.ECONNRESET: message("Connection reset by peer"),
    errno.EHOSTUNREACH: message("No route to host"),
    errno.ENETUNREACH: message("Network is unreachable"),
    errno.EADDRNOTAVAIL: message("Cannot assign requested address"),
    errno.EACCES: message("Permission denied"),
    errno.EPERM: message("Operation not permitted"),
}
"""As the operating system says them in English."""


def why_not_connected(error: OSError) -> str:
    """Return in words why a name was not found, or a connection not made."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return message("no answer")
    if isinstance(error, socket.gaierror):
        unknown = message("the name cannot be looked up")
        return unknown if error.errno is None else NAMES.get(error.errno, unknown)
    if error.errno is None:
        return error.strerror or message("no answer")
    return CONNECTIONS.get(error.errno) or error.strerror or os.strerror(error.errno)
