"""Limits the number of connections and associations, and decides which connections give way.

When the connections of a budget are used up, a new one replaces one whose peer has not requested
an association yet: the oldest of the address that has most. So peers that are silent or slow keep
nobody out. Associations are counted separately, so idle sockets cannot use them up. A request that
finds all of them in use waits for a moment, which absorbs bursts of short associations. Some of
both are reserved for peers that hold few or none (`shares`): a peer that asks for everything
leaves them to the others. One `Budgets` counts for all listeners of a receiver.
"""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from draw_shared.dicom.network import admission
from draw_shared.dicom.network.association import AcceptorAssociation
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.service import Reject
from draw_shared.dicom.network.shares import Claimant, SharedPlace, Shares, ShareShortage
from draw_shared.dicom.network.tls import ServerTls
from draw_shared.wording import message

PLACE_TIMEOUT_SECONDS: Final = 3.0
"""How long a request waits for a place; some peers wait only five seconds for their answer."""
GRACE_PERIOD_SECONDS: Final = 1.0
"""A younger connection with unread data is spared: we had no time to read its request."""
REFUSALS: Final[Mapping[ShareShortage, Reject]] = {
    ShareShortage.OF_ADDRESS: admission.ADDRESS_LIMIT_EXCEEDED,
    ShareShortage.OF_AE_TITLE: admission.AE_TITLE_LIMIT_EXCEEDED,
    ShareShortage.OF_SHARE: admission.SHARE_EXCEEDED,
    ShareShortage.OF_PLACES: admission.LIMIT_EXCEEDED,
}


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection, counted for one address."""

    socket: socket.socket
    address: str
    turn_out: Callable[["Connection"], None]
    """Called without any lock after the connection has given way and is no longer counted."""
    tls: ServerTls | None = None
    """How TLS is used on it; None: not at all."""
    association: AcceptorAssociation | None = None
    place: SharedPlace | None = None
    """Its place among the associations, if it has requested one."""
    barred: bool = False
    """Whether it can no longer get a place."""
    accepted_at: float = field(default_factory=time.monotonic)

    @property
    def associated(self) -> bool:
        """Whether it holds a place among the associations."""
        return self.place is not None and self.place.taken

    @property
    def can_give_way(self) -> bool:
        """Whether its peer had time to request an association, and did not."""
        if self.association is not None and self.association.in_hand:
            return False
        return time.monotonic() - self.accepted_at > GRACE_PERIOD_SECONDS or not _readable(
            self.socket
        )


class Budgets:
    """Counts open connections and associations, for all threads.

    Args:
        limits: returns the limits in force.
    """

    def __init__(self, limits: Callable[[], AcceptorLimits]) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._connections: dict[Connection, None] = {}
        """In the order in which they were accepted."""
        self._per_address: Counter[str] = Counter()
        self._shares = Shares(lambda: limits().places)

    @property
    def associations(self) -> int:
        """How many associations hold a place."""
        return self._shares.held

    @property
    def connections(self) -> list[Connection]:
        """Every counted connection, the oldest first."""
        with self._lock:
            return list(self._connections)

    def counts(self, connection: Connection) -> bool:
        """Return whether a connection is open and has not given way."""
        return connection in self._connections

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, if there is room or others can give way."""
        limits = self._limits()
        address = connection.address
        limited = not admission.within(address, limits.trusted_proxies)
        while True:
            with self._lock:
                if limited and self._is_crowded(address, limits):
                    giving = self._choose_giving_way(address)
                elif len(self._connections) < limits.max_connections:
                    return self._count(connection)
                else:
                    giving = self._choose_giving_way()
                    if giving is None and self._reserved(address, len(self._connections)):
                        return self._count(connection)
            if giving is None:
                return False
            giving.turn_out(giving)

    def move(self, connection: Connection, client: str) -> bool:
        """Count a connection for the client behind the proxy instead, if there is room for that.

        Raises:
            ConnectionError: it has given way to another one.
        """
        while True:
            with self._lock:
                if connection not in self._connections:
                    raise ConnectionError(message("made room for another connection"))
                if not self._reserved(client, len(self._connections) - 1):
                    return False
                if not self._is_crowded(client, self._limits()):
                    self._discount(connection.address)
                    connection.address = client
                    self._per_address[client] += 1
                    return True
                giving = self._choose_giving_way(client)
            if giving is None:
                return False
            giving.turn_out(giving)

    def take_place(self, connection: Connection, claimant: Claimant) -> Reject | None:
        """Wait for a place for an association, and return None, or why there is none.

        There is none if the wait times out, after `give_up`, and for a connection that has given
        way.
        """
        with self._lock:
            if connection.barred or connection not in self._connections:
                return admission.LIMIT_EXCEEDED
            connection.place = place = self._shares.ask(claimant)
        shortage = self._shares.wait(place, PLACE_TIMEOUT_SECONDS)
        return None if shortage is None else REFUSALS[shortage]

    def give_up(self, connection: Connection) -> None:
        """From now on, give no place to a connection without one."""
        with self._lock:
            connection.barred = True
            if connection.place is not None and not connection.place.taken:
                self._shares.give_back(connection.place)

    def forget(self, connection: Connection) -> None:
        """Stop counting a connection that has ended."""
        with self._lock:
            if connection in self._connections:
                self._remove(connection)
            if connection.place is not None:
                self._shares.give_back(connection.place)

    def _count(self, connection: Connection) -> bool:
        self._connections[connection] = None
        self._per_address[connection.address] += 1
        return True

    def _is_crowded(self, address: str, limits: AcceptorLimits) -> bool:
        return self._per_address[address] >= limits.max_connections_per_address

    def _reserved(self, address: str, others: int) -> bool:
        """Return whether an address may have one more connection besides `others`."""
        limits = self._limits()
        free = limits.max_connections + limits.places.reserved - others
        return others < limits.max_connections or self._per_address[address] < free

    def _choose_giving_way(self, address: str | None = None) -> Connection | None:
        """Stop counting the connection that gives way, of one address or of the one with most."""
        found, most = None, 0
        for connection in self._connections:
            has = self._per_address[connection.address]
            if address in {None, connection.address} and has > most and connection.can_give_way:
                found, most = connection, has
        if found is not None:
            self._remove(found)
        return found

    def _remove(self, connection: Connection) -> None:
        del self._connections[connection]
        self._discount(connection.address)

    def _discount(self, address: str) -> None:
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]


def _readable(connected: socket.socket) -> bool:
    """Return whether received data waits to be read."""
    waiting = select.poll()
    try:
        waiting.register(connected, select.POLLIN)
    except ValueError:
        # The connection's own thread has closed it.
        return False
    return bool(waiting.poll(0))
