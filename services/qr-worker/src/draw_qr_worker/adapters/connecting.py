"""Reaching a node: TCP, TLS, and what a rejected association means (PS3.8 9.3.4)."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from draw_qr_worker.models import Node, PeerBusy, PeerCongested, PeerRefused, Unreachable, Untrusted
from draw_shared.dicom.pdu import REJECTED_TRANSIENT, is_congestion
from draw_shared.dicom.peer_trust import NotTrusted, PeerTrust, PeerTrusts
from draw_shared.dicom.tls import TlsUnusable
from draw_shared.dicom.wire import Wire

CONNECT_SECONDS: Final = 10.0
REJECTIONS: Final[Mapping[tuple[int, int], str]] = {
    (1, 1): "no reason given",
    (1, 2): "it does not support the application context",
    (1, 3): "it does not know our AE title",
    (1, 7): "it does not go by the called AE title",
    (2, 1): "no reason given",
    (2, 2): "it does not support the protocol version",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}
"""(source, reason) of A-ASSOCIATE-RJ in words (PS3.8 9.3.4)."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Both ends of a connection."""

    peer: str = ""
    local: str = ""


def connected(node: Node, trusts: PeerTrusts) -> tuple[Wire, Addresses]:
    """Return a connection to the node, and whose it is.

    Raises:
        Untrusted: the node's certificate is not trusted.
        Unreachable: no TCP or TLS connection.
    """
    seconds = min(CONNECT_SECONDS, node.timeout_seconds)
    try:
        connection = plain = socket.create_connection((node.host, node.port), timeout=seconds)
    except OSError as error:
        words = (
            error.strerror or "no answer" if not isinstance(error, TimeoutError) else "no answer"
        )
        raise Unreachable(f"no connection to {node.host}:{node.port}: {words}") from error
    if node.tls:
        try:
            connection = trust_in(node, trusts).secured(connection, node.host)
        except NotTrusted as error:
            raise untrusted(node, error) from error
        except OSError as error:
            raise Unreachable(f"no TLS with {node.host}:{node.port}: {error}") from error
        finally:
            # Without TLS nothing is left of it; else it is the secured one's by now.
            plain.close()
    return Wire(connection), Addresses(_host(connection.getpeername), _host(connection.getsockname))


def trust_in(node: Node, trusts: PeerTrusts) -> PeerTrust:
    """Return how the node is trusted.

    Raises:
        Unreachable: our own files for TLS cannot be used.
    """
    try:
        return trusts.of(node.tls_fingerprint)
    except TlsUnusable as error:
        raise Unreachable(f"no TLS with {node.host}:{node.port}: {error}") from error


def untrusted(node: Node, error: NotTrusted) -> Untrusted:
    """Return the failure that a certificate stands for which is not trusted."""
    return Untrusted(f"no TLS with {node.host}:{node.port}: {error}", error.certificate)


def _host(name: Callable[[], tuple[str, int]]) -> str:
    try:
        return name()[0]
    except OSError:
        return ""


def rejection(body: bytes) -> PeerRefused | PeerBusy | PeerCongested:
    """Return the failure that an A-ASSOCIATE-RJ stands for."""
    _, result, source, reason = body
    words = REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
    if is_congestion(result, source, reason):
        return PeerCongested(f"the node takes no further association for now: {words}")
    if result == REJECTED_TRANSIENT:
        return PeerBusy(f"the node rejected the association for now: {words}")
    return PeerRefused(f"the node rejected the association: {words}")
