"""Names what answers on a port that does not answer DICOM.

A server that waits for the rest of a line, or hangs up, has not said what it is. It is then
called once more, in its own language. Nothing secret is sent, and no certificate is trusted.
"""

import socket
import ssl
import time
from typing import Final

from typing_extensions import override

from draw_qr_worker.ports.supervision import Supervision
from draw_shared.dicom.network.peer_failures import PeerBrokeProtocol
from draw_shared.wording import message

WEB_SERVER: Final = message("this is a web server (HTTP), not DICOM")
TLS_SERVER: Final = message("this port speaks TLS, and was called without TLS")
PROBE_TIMEOUT_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 1.5
"""How long a node may keep silent before it is asked whether it is something else."""
REQUEST: Final = b"HEAD / HTTP/1.0\r\n\r\n"
STATUS_LINE: Final = b"HTTP/"


def name_other_protocol(host: str, port: int, *, tls: bool) -> str:
    """Return in words what else than DICOM speaks on a port; empty if that is unknown."""
    if not tls and _speaks_tls(host, port):
        return TLS_SERVER
    return WEB_SERVER if not tls and _speaks_http(host, port) else ""


class ImpatientSupervision(Supervision):
    """Lets a wait for an association end early when the other side is no DICOM node."""

    def __init__(self, supervision: Supervision, host: str, port: int, *, tls: bool) -> None:
        self._supervision = supervision
        self._host, self._port, self._tls = host, port, tls
        self._asks_at: float | None = None
        self._associated = False

    def associated(self) -> None:
        """Be patient from now on: it is a DICOM node."""
        self._associated = True

    @override
    def ended(self) -> bool:
        return self._supervision.ended()

    @override
    def check(self) -> None:
        self._supervision.check()
        if self._associated:
            return
        now = time.monotonic()
        if self._asks_at is None:
            self._asks_at = now + PATIENCE_SECONDS
        elif now >= self._asks_at:
            self._associated = True
            words = name_other_protocol(self._host, self._port, tls=self._tls)
            if words:
                raise PeerBrokeProtocol(words)

    @override
    def pause(self, seconds: float) -> None:
        self._supervision.pause(seconds)


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), PROBE_TIMEOUT_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        # Only a server that speaks TLS can refuse us by an alert.
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False


def _speaks_http(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_SECONDS) as connection:
            connection.sendall(REQUEST)
            return connection.recv(len(STATUS_LINE)) == STATUS_LINE
    except OSError:
        return False
