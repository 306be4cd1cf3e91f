"""uvicorn as a component: its own thread, no signal handlers, a drain with a deadline."""

import socket
import threading
import time
from ipaddress import IPv4Network
from typing import Any, Final

import uvicorn

from draw_shared.contracts.addresses import MAPPED, network_of

START_SECONDS: Final = 15.0
LAST_SECONDS: Final = 2.0
KEEP_ALIVE_SECONDS: Final = 20
BACKLOG: Final = 256


class WebServer:
    """Serves an ASGI application on one TCP port; at `::` for IPv4 as well, as the receiver does.

    Args:
        trusted_proxies: addresses and networks, separated by commas, whose word is taken for
            who the client is.
    """

    name = "web-server"

    def __init__(self, application: Any, host: str, port: int, *, trusted_proxies: str) -> None:  # noqa: ANN401 - ASGI applications have no common type
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=_as_seen(trusted_proxies),
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def port(self) -> int:
        """The port in use, also when any free one was asked for."""
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
        # Else every answer waits 40 ms for the client's acknowledgement of its headers.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError("the web server did not start")
            time.sleep(0.01)

    def stop(self, deadline_seconds: float) -> None:
        """Take no new connections, let answers finish until near the deadline, then close."""
        self._server.should_exit = True
        self._thread.join(max(0.1, deadline_seconds - LAST_SECONDS))
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        if self._socket is not None:
            self._server.run(sockets=[self._socket])


def _as_seen(networks: str) -> list[str]:
    """Return networks as a socket for IPv4 names its peers and, mapped, as one for both does."""
    found = [network_of(one) for one in networks.split(",") if one]
    mapped = [
        f"::ffff:{one.network_address}/{MAPPED.prefixlen + one.prefixlen}"
        for one in found
        if isinstance(one, IPv4Network)
    ]
    return [*map(str, found), *mapped]
