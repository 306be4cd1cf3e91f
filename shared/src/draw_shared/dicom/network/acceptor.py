"""Listens for connections and serves each on its own thread, within budgets.

A door is a listening socket, with TLS or without. An acceptor may have one of each, with common
budgets.

Concurrency: one thread accepts and does nothing that could wait for a peer. One thread per
connection reads the PROXY header, does the TLS handshake and serves the association. A connection
beyond the budgets gets A-ASSOCIATE-RJ (transient) from the accepting thread, which reads nothing;
another thread keeps such connections open for a moment, so that the answer arrives.
"""

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

import structlog

from draw_shared.addresses import canonical
from draw_shared.dicom.network import admission
from draw_shared.dicom.network.association import AcceptorAssociation
from draw_shared.dicom.network.budgets import Budgets, Connection
from draw_shared.dicom.network.limits import DEFAULT_LIMITS, AcceptorLimits
from draw_shared.dicom.network.lingering_close import LingeringClose
from draw_shared.dicom.network.listening import CannotListen, turn_deaf
from draw_shared.dicom.network.pdu import ProtocolViolation, reject
from draw_shared.dicom.network.peer_certificates import verified_certificate
from draw_shared.dicom.network.placement import Placement
from draw_shared.dicom.network.proxy_protocol import read_client_address
from draw_shared.dicom.network.service import Peer, ServiceProvider
from draw_shared.dicom.network.tls import ServerTls, handshake_failure
from draw_shared.dicom.network.wire import Wire
from draw_shared.wording import message

log = structlog.get_logger()

SETUP_TIMEOUT_SECONDS: Final = 12.0
"""From the connection to the complete A-ASSOCIATE-RQ, with PROXY header and TLS handshake."""
POLL_INTERVAL_SECONDS: Final = 0.1
HANDSHAKE_TIMEOUT_SECONDS: Final = 0.5
"""How long TCP handshakes under way may take after a port is given up."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, and whether it uses TLS."""

    listener: socket.socket
    tls: ServerTls | None = None
    """None: without TLS."""


class Acceptor:
    """Owns its doors' sockets, and serves the associations that come through them.

    Args:
        limits: returns the limits in force.
        budgets: shared with other acceptors; by default its own.
    """

    name = "dicom"

    def __init__(
        self,
        doors: Sequence[Door],
        provider: ServiceProvider,
        limits: Callable[[], AcceptorLimits] = lambda: DEFAULT_LIMITS,
        placement: Placement | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self.doors = tuple(doors)
        self._ports = tuple(int(door.listener.getsockname()[1]) for door in doors)
        self._provider = provider
        self._limits = limits
        self._placement = placement
        self._budgets = budgets or Budgets(limits)
        self._mine: dict[Connection, None] = {}
        self._waiting = selectors.PollSelector()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="dicom-accept", daemon=True)
        self._lingering_close = LingeringClose()

    @property
    def ports(self) -> tuple[int, ...]:
        """The port of each door, even if any free port was requested."""
        return self._ports

    @property
    def port(self) -> int:
        """The port of the first door."""
        return self._ports[0]

    @property
    def active_associations(self) -> int:
        """How many associations are established now."""
        return sum(connection.associated for connection in self._open())

    @property
    def connections(self) -> int:
        """How many connections are open now, associated or not."""
        return len(self._open())

    def start(self) -> None:
        """Start to accept connections.

        Raises:
            CannotListen: the system cannot start another thread; the sockets are closed.
        """
        for door in self.doors:
            door.listener.settimeout(0)
            self._waiting.register(door.listener, selectors.EVENT_READ, door)
        try:
            self._lingering_close.start()
            self._accepting.start()
        except RuntimeError as error:
            self._lingering_close.stop()
            self._close()
            raise CannotListen(message("the system has no thread left for it")) from error

    def retire(self, *, handed_on: Container[int]) -> None:
        """Leave the ports to a successor, and return when every connection has been served.

        The successor accepts from the same sockets on the ports in `handed_on`, including the
        connections that wait there.
        """
        given_up = [
            door
            for door, port in zip(self.doors, self._ports, strict=True)
            if port not in handed_on
        ]
        for door in given_up:
            # If this fails, a peer that connects at this very moment may have to try again.
            with suppress(OSError):
                turn_deaf(door.listener)
        if given_up:
            self._ended.wait(HANDSHAKE_TIMEOUT_SECONDS)
        self._stopping.set()
        self._accepting.join()
        for door in given_up:
            # A concurrent stop has closed it.
            with suppress(OSError):
                while self._accept_one(door):
                    pass
        self._close()
        while self._open() and not self._ended.wait(POLL_INTERVAL_SECONDS):
            pass
        self._lingering_close.stop()

    def stop(self, deadline_seconds: float) -> None:
        """Accept no new connections, let associations finish, abort the rest at the deadline."""
        deadline = time.monotonic() + deadline_seconds
        self._stopping.set()
        self._accepting.join(deadline_seconds)
        self._close()
        for connection in self._open():
            self._budgets.give_up(connection)
        self._close_unassociated()
        while self.active_associations and time.monotonic() < deadline - 1:
            time.sleep(0.02)
        for connection in self._open():
            if connection.association is not None:
                connection.association.abort()
        while self._open() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ended.set()
        self._lingering_close.stop()

    def _open(self) -> list[Connection]:
        return [connection for connection in tuple(self._mine) if self._budgets.counts(connection)]

    def _close_unassociated(self) -> None:
        for connection in self._open():
            association = connection.association
            if association is None or not association.established:
                with suppress(OSError):
                    socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)

    def _close(self) -> None:
        for door in self.doors:
            door.listener.close()
        self._waiting.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._waiting.select(POLL_INTERVAL_SECONDS):
                self._accept_one(key.data)

    def _accept_one(self, door: Door) -> bool:
        """Accept a waiting connection, and return whether there was one."""
        try:
            connected, origin = door.listener.accept()
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            # Out of descriptors or memory: connections continue, new ones wait.
            log.warning("connection.not_accepted", error=type(error).__name__)
            time.sleep(POLL_INTERVAL_SECONDS)
            return False
        address = canonical(str(origin[0]))
        self._admit(Connection(connected, address, self._turn_out, door.tls))
        return True

    def _admit(self, connection: Connection) -> None:
        if not self._budgets.admit(connection):
            self._turn_away(connection, connection.socket, connection.address)
            return
        self._mine[connection] = None
        thread = threading.Thread(
            target=self._serve, args=(connection,), name="dicom-association", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._forget(connection)
            self._turn_away(connection, connection.socket, connection.address)

    def _forget(self, connection: Connection) -> None:
        self._mine.pop(connection, None)
        self._budgets.forget(connection)

    def _turn_out(self, giving: Connection) -> None:
        """Reject a connection that gives way; its own thread closes it."""
        decision = admission.GAVE_WAY
        self._provider.rejected(Peer(_new_id(), giving.address, ""), None, decision)
        if giving.tls is None:
            answer = reject(decision.result, decision.source, decision.reason)
            with suppress(OSError):
                socket.socket.send(giving.socket, answer, socket.MSG_DONTWAIT)
        with suppress(OSError):
            socket.socket.shutdown(giving.socket, socket.SHUT_RDWR)

    def _turn_away(self, connection: Connection, connected: socket.socket, address: str) -> None:
        decision = admission.CONGESTED
        self._provider.rejected(Peer(_new_id(), address, ""), None, decision)
        if connection.tls is not None:
            connected.close()
            return
        self._lingering_close.say(
            connected, reject(decision.result, decision.source, decision.reason)
        )

    def _serve(self, connection: Connection) -> None:
        try:
            self._run(connection)
        except (OSError, ProtocolViolation) as error:
            self._note_drop(connection, str(error)[:100])
        finally:
            with suppress(OSError):
                connection.socket.close()
            self._forget(connection)

    def _note_drop(self, connection: Connection, reason: str) -> None:
        # A connection that has given way was already answered and accounted for.
        if self._budgets.counts(connection):
            log.info("connection.dropped", address=connection.address, reason=reason)

    def _run(self, connection: Connection) -> None:
        deadline = time.monotonic() + SETUP_TIMEOUT_SECONDS
        limits = self._limits()
        address = connection.address
        if admission.within(address, limits.trusted_proxies):
            client = read_client_address(connection.socket, SETUP_TIMEOUT_SECONDS)
            if client is None:
                return
            address = client
            if not self._budgets.move(connection, client):
                self._turn_away(connection, connection.socket.dup(), client)
                return
        if connection.tls is not None:
            # Set before the handshake, so that other threads can end it.
            connection.socket = secured = connection.tls.context().wrap_socket(
                connection.socket, server_side=True, do_handshake_on_connect=False
            )
            # The timeout covers the handshake as a whole, however slowly it proceeds.
            secured.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                secured.do_handshake()
            except ssl.SSLError as error:
                raise ConnectionError(handshake_failure(error)) from error
        local = connection.socket.getsockname()
        peer = _peer(address, str(local[0]), connection.socket)
        association = AcceptorAssociation(
            Wire(connection.socket), peer, self._provider, limits.association, self._placement
        )
        connection.association = association
        ending = association.serve(
            self._provider, partial(self._budgets.take_place, connection), deadline
        )
        if ending.reason and not association.established:
            self._note_drop(connection, ending.reason)


def _peer(address: str, local_address: str, connected: socket.socket) -> Peer:
    """Return the peer of a connection, with its verified certificate if it uses TLS."""
    if not isinstance(connected, ssl.SSLSocket):
        return Peer(_new_id(), address, local_address)
    shown = verified_certificate(connected)
    return Peer(_new_id(), address, local_address, connected.version() or "", shown)


def _new_id() -> str:
    return uuid4().hex
