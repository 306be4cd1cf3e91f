"""Runs uvicorn as a component: its own thread, no signal handlers, a drain with a deadline."""

import resource
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final

import uvicorn

from draw_shared.addresses import MAPPED, address_of, network_of
from draw_shared.web.http_connection import (
    BoundedConnection,
    ConnectionLimits,
    ConnectionTimeouts,
)

START_TIMEOUT_SECONDS: Final = 15.0
EXIT_TIMEOUT_SECONDS: Final = 2.0
KEEP_ALIVE_TIMEOUT_SECONDS: Final = 20
BACKLOG: Final = 256
MAX_CONNECTIONS: Final = 800
MAX_CONNECTIONS_PER_ADDRESS: Final = 100
OTHER_FILES: Final = 200
"""File descriptors for everything except clients: database, broker, stored files."""


class WebServer:
    """Serves an ASGI application on one TCP port; on `::` also for IPv4, as the receiver does.

    Args:
        trusted_proxies: addresses and networks, separated by commas, that may name the client's
            address and may have any number of connections.
        most_each: connections of one address; the server has at most 800 in all, or fewer when
            the
            process may open no more files.
        times: how long a client may take for each part of a request.
        refused: receives the status of each answer that the application does not see.
    """

    name = "web-server"

    def __init__(
        self,
        application: Any,  # noqa: ANN401 - ASGI applications have no common type
        host: str,
        port: int,
        *,
        trusted_proxies: str,
        most_each: int = MAX_CONNECTIONS_PER_ADDRESS,
        times: ConnectionTimeouts | None = None,
        refused: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        room = ConnectionLimits(
            _max_connections(),
            most_each,
            times or ConnectionTimeouts(),
            _membership_test(trusted_proxies),
            refused,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=partial(BoundedConnection, room=room),  # type: ignore[arg-type]  # it makes one
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=_socket_forms(trusted_proxies),
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def port(self) -> int:
        """The port in use, even if any free one was requested."""
        return int(self._socket.getsockname()[1]) if self._socket else self._address[1]

    def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: the port is taken.
            TimeoutError: the server does not come up.
        """
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        self._socket = socket.create_server(
            self._address, family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
        # asyncio sets it only on sockets that name their protocol; accepted ones inherit this.
        # Otherwise every answer waits 40 ms for the client's acknowledgement of its headers.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError("the web server did not start")
            time.sleep(0.01)

    def stop(self, deadline_seconds: float) -> None:
        """Accept no connections; let answers finish until near the deadline, then close."""
        self._server.should_exit = True
        self._thread.join(max(0.1, deadline_seconds - EXIT_TIMEOUT_SECONDS))
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(EXIT_TIMEOUT_SECONDS)

    def _run(self) -> None:
        if self._socket is not None:
            self._server.run(sockets=[self._socket])


def _max_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(MAX_CONNECTIONS_PER_ADDRESS, files - OTHER_FILES))


def _membership_test(networks: str) -> Callable[[str], bool]:
    """Return a predicate that tells whether an address is in one of the networks."""
    found = [network_of(one) for one in networks.split(",") if one]

    def among(address: str) -> bool:
        try:
            seen = address_of(address)
        except ValueError:
            return False
        return any(seen in network for network in found)

    return among


def _socket_forms(networks: str) -> list[str]:
    """Return networks as an IPv4 socket and, mapped, as a dual-stack socket name their peers."""
    found = [network_of(one) for one in networks.split(",") if one]
    mapped = [
        f"::ffff:{one.network_address}/{MAPPED.prefixlen + one.prefixlen}"
        for one in found
        if isinstance(one, IPv4Network)
    ]
    return [*map(str, found), *mapped]
