"""Sends webhook deliveries over HTTP, to where an administrator said and nowhere else.

Redirects are not followed, proxies of the environment are not used, and the address that
was checked is the one that is connected to: a name cannot lead to a link-local address (a
cloud's metadata service) after it was looked at. Addresses of the hospital's network and of
this machine are allowed; that is where handlers are.
"""

import ipaddress
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from draw_indexer.models import WebhookAnswer

TIMEOUT_SECONDS: Final = 10.0
READ_BYTES: Final = 4096


class AddressRefused(OSError):
    """No address of the receiver may be connected to."""


class WebhookSender:
    """Posts bodies; one object serves any number of threads."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout_seconds
        self._tls = ssl.create_default_context()

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> WebhookAnswer:
        """Send and return what came of it; never raises for what the receiver does."""
        try:
            connection, target = self._connection(url)
            try:
                connection.request("POST", target, body, headers)
                answer = connection.getresponse()
                answer.read(READ_BYTES)
                return WebhookAnswer(answer.status, "" if answer.status < 300 else answer.reason)  # noqa: PLR2004
            finally:
                connection.close()
        except (OSError, HTTPException, ValueError) as error:
            return WebhookAnswer(None, f"{type(error).__name__}: {_reason(error)}")

    def _connection(self, url: str) -> tuple[HTTPConnection, str]:
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError("not an http or https URL")
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        made: HTTPConnection
        if secure:
            made = HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        else:
            made = HTTPConnection(host, port, timeout=self._timeout)
        made.sock = self._connected(host, port, secure=secure)
        target = parts.path or "/"
        return made, f"{target}?{parts.query}" if parts.query else target

    def _connected(self, host: str, port: int, *, secure: bool) -> socket.socket:
        failure: OSError = AddressRefused("the address may not be used")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            if not allowed(str(address[0])):
                continue
            plain = socket.socket(family, kind, protocol)
            plain.settimeout(self._timeout)
            try:
                plain.connect(address)
                return self._tls.wrap_socket(plain, server_hostname=host) if secure else plain
            except OSError as error:
                plain.close()
                failure = error
        raise failure


def allowed(address: str) -> bool:
    """Return whether a receiver may have this address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return not (found.is_link_local or found.is_multicast or found.is_unspecified)


def _reason(error: Exception) -> str:
    """Return words for people; those of the HTTP library may quote what the receiver sent."""
    return error.strerror or "" if isinstance(error, OSError) else ""
