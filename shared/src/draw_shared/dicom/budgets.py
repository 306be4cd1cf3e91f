"""How many connections and associations there may be, and who gives way to whom.

When a budget of connections is used up, the oldest one whose peer has not asked for an
association yet gives way to the new one, so that peers that are silent or crawl keep nobody
out. The association budget is counted apart: idle sockets cannot use it up. A request that
finds it used up waits for a moment, so that a burst of short associations is served.
"""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from draw_shared.contracts.server_config import NetworkConfig
from draw_shared.dicom import admission
from draw_shared.dicom.association import Association

PLACE_SECONDS: Final = 3.0
"""How long a request waits for its place; some peers wait five seconds for their answer."""
UNHEARD_SECONDS: Final = 1.0
"""A connection so young that has something to read has had no chance to be heard."""


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection, counted for an address."""

    socket: socket.socket
    address: str
    association: Association | None = None
    associated: bool = False
    """Whether it has a place among the associations."""
    accepted_at: float = field(default_factory=time.monotonic)

    @property
    def can_give_way(self) -> bool:
        """Whether its peer has had time to ask for an association, and has not."""
        if self.association is not None and self.association.in_hand:
            return False
        return time.monotonic() - self.accepted_at > UNHEARD_SECONDS or not _readable(self.socket)


class Budgets:
    """Counts what is open for all threads of an acceptor.

    Args:
        network: the limits in force now.
        gave_way: is called, without any lock, for each connection that is counted no more.
    """

    def __init__(
        self, network: Callable[[], NetworkConfig], gave_way: Callable[[Connection], None]
    ) -> None:
        self._network = network
        self._gave_way = gave_way
        self._lock = threading.Lock()
        self._vacated = threading.Condition(self._lock)
        self._connections: dict[Connection, None] = {}
        """In the order in which they came."""
        self._per_address: Counter[str] = Counter()
        self._associations = 0
        self._closed = False

    @property
    def associations(self) -> int:
        """How many associations have a place."""
        return self._associations

    @property
    def connections(self) -> list[Connection]:
        """Every connection that is counted, the oldest first."""
        with self._lock:
            return list(self._connections)

    def counts(self, connection: Connection) -> bool:
        """Return whether a connection is open and has not given way."""
        return connection in self._connections

    def admit(self, connection: Connection) -> bool:
        """Count a new connection if there is room, or others give way."""
        network = self._network()
        limited = not admission.within(connection.address, network.trusted_proxies)
        while True:
            with self._lock:
                if limited and self._crowded(connection.address, network):
                    giving = self._giving_way(connection.address)
                elif len(self._connections) >= network.max_connections:
                    giving = self._giving_way()
                else:
                    self._connections[connection] = None
                    self._per_address[connection.address] += 1
                    return True
            if giving is None:
                return False
            self._gave_way(giving)

    def move(self, connection: Connection, client: str) -> bool:
        """Count a connection for the client behind the proxy, if that has room.

        Raises:
            ConnectionError: it has given way to another one.
        """
        while True:
            with self._lock:
                if connection not in self._connections:
                    raise ConnectionError("made room for another connection")
                if not self._crowded(client, self._network()):
                    self._discount(connection.address)
                    connection.address = client
                    self._per_address[client] += 1
                    return True
                giving = self._giving_way(client)
            if giving is None:
                return False
            self._gave_way(giving)

    def take_place(self, connection: Connection) -> bool:
        """Count one more association once there is room.

        There is none when it does not come in time, after `close`, and for a connection that
        has given way.
        """

        def settled() -> bool:
            return not self._may_associate(connection) or (
                self._associations < self._network().max_associations
            )

        with self._lock:
            if not self._vacated.wait_for(settled, PLACE_SECONDS):
                return False
            if not self._may_associate(connection):
                return False
            self._associations += 1
            connection.associated = True
            return True

    def forget(self, connection: Connection) -> None:
        """Count a connection that has ended no more."""
        with self._lock:
            if connection in self._connections:
                self._remove(connection)
            if connection.associated:
                self._associations -= 1
                self._vacated.notify()

    def close(self) -> None:
        """Give no more places."""
        with self._lock:
            self._closed = True
            self._vacated.notify_all()

    def _may_associate(self, connection: Connection) -> bool:
        return not self._closed and connection in self._connections

    def _crowded(self, address: str, network: NetworkConfig) -> bool:
        return self._per_address[address] >= network.max_connections_per_address

    def _giving_way(self, address: str | None = None) -> Connection | None:
        """Count the oldest that can give way, of one address or any, no more."""
        for connection in self._connections:
            if address in {None, connection.address} and connection.can_give_way:
                self._remove(connection)
                return connection
        return None

    def _remove(self, connection: Connection) -> None:
        del self._connections[connection]
        self._discount(connection.address)

    def _discount(self, address: str) -> None:
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]


def _readable(connected: socket.socket) -> bool:
    """Return whether something has come that nobody has read yet."""
    waiting = select.poll()
    try:
        waiting.register(connected, select.POLLIN)
    except ValueError:
        # Its own thread has closed it.
        return False
    return bool(waiting.poll(0))
