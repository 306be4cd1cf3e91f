"""Keeps the DICOM port as the configuration wants it.

Address, port and TLS cannot change on an open socket: a new listener is proved first, its
files read and its port taken, and only when it listens does the old one stop. On the same
address both have the same socket, on the same port of another address they share the port
for that moment, so that nobody is refused in between. Who has connected to the old one is
served to the end. A restart is a new listener on the same socket. A listener that cannot be
opened leaves the old one as it was, or the port closed if there is none; it is tried again
each second, and `problem` says why. Everything else changes for new associations without
any of this. Only the receiver itself listens: its receiving processes are handed what it has
accepted, so what is proved here holds for all of them.
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from draw_shared.contracts.server_config import NetworkConfig, ServerConfig, TlsConfig
from draw_shared.dicom.acceptor import Acceptor
from draw_shared.dicom.listening import CannotListen, listening, listening_beside, spoken
from draw_shared.dicom.placement import Placement
from draw_shared.dicom.service import ServiceProvider
from draw_shared.dicom.tls import ServerTls, TlsUnusable
from draw_shared.runtime.desired_state import Wanted
from draw_shared.runtime.periodic import Periodic

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Binding:
    """What a listener is bound to, and for which time it is opened."""

    host: str
    port: int
    tls: TlsConfig
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class _Open:
    """A listener that is open, and what it was opened for."""

    binding: Binding
    tls: ServerTls | None
    acceptor: Acceptor

    @property
    def words(self) -> str:
        """Where it listens, and whether with TLS."""
        tls = "without TLS" if self.tls is None else "with TLS"
        return f"{spoken(self.binding.host, self.acceptor.port)} {tls}"


class Listener:
    """The DICOM port of this process."""

    name = "listener"

    def __init__(
        self,
        provider: ServiceProvider,
        config: Callable[[], ServerConfig],
        *,
        placement: Placement | None = None,
        drain_seconds: float,
        reuse_port: bool = False,
        desired: Callable[[], Wanted] = lambda: Wanted(running=True),
    ) -> None:
        self._provider = provider
        self._placement = placement
        self._desired = desired
        self._config = config
        self._drain_seconds = drain_seconds
        self._reuse_port = reuse_port
        self._lock = threading.Lock()
        self._open: _Open | None = None
        self._draining: list[Acceptor] = []
        self._stopped = False
        self._refusal = ""
        self.opened_at: float | None = None
        self._periodic = Periodic(self.name, self._reconcile, interval_seconds=INTERVAL_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether the port is open, be it another than wanted, or closed because it shall be."""
        return self._open is not None or self._wanted() is None

    @property
    def as_wanted(self) -> bool:
        """Whether the port is as the configuration wants it, be it closed."""
        found = self._open
        return (found.binding if found is not None else None) == self._wanted()

    @property
    def problem(self) -> str:
        """Why the port is not as the configuration wants it, in words; empty when it is."""
        found, refusal = self._open, self._refusal
        if refusal:
            return f"{f'still on {found.words}' if found else 'not listening'}, because {refusal}"
        return found.tls.problem if found is not None and found.tls is not None else ""

    @property
    def port(self) -> int:
        """The port in use, 0 when none is."""
        found = self._open
        return found.acceptor.port if found is not None else 0

    @property
    def bound(self) -> dict[str, str | int | bool] | None:
        """Where associations are really accepted: host, port and whether with TLS."""
        found = self._open
        if found is None:
            return None
        port, tls = found.acceptor.port, found.tls is not None
        return {"host": found.binding.host, "port": port, "tls": tls}

    @property
    def active_associations(self) -> int:
        """How many associations are established now."""
        return sum(acceptor.active_associations for acceptor in self._acceptors())

    @property
    def connections(self) -> int:
        """How many connections are open now, associated or not."""
        return sum(acceptor.connections for acceptor in self._acceptors())

    def start(self) -> None:
        """Listen, if the configuration says so; what cannot be opened is tried again."""
        self._reconcile()
        self._periodic.start()

    def apply(self) -> None:
        """Look at the configuration now."""
        self._periodic.wake()

    def stop(self, deadline_seconds: float) -> None:
        """Take no new associations and let those that run finish."""
        self._periodic.stop(0)
        with self._lock:
            self._stopped = True
            acceptors = self._acceptors()
            self._open = None
        threads = [
            threading.Thread(target=acceptor.stop, args=(deadline_seconds,))
            for acceptor in acceptors
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(deadline_seconds + 1)

    def _acceptors(self) -> list[Acceptor]:
        current = self._open
        return [*self._draining, *([current.acceptor] if current is not None else [])]

    def _reconcile(self) -> None:
        wanted, old = self._wanted(), self._open
        if wanted == (old.binding if old is not None else None):
            self._refusal = ""
            return
        try:
            new = self._opened(wanted, old) if wanted is not None else None
        except (CannotListen, TlsUnusable) as error:
            self._refused(str(error))
            return
        self._replace(old, new)

    def _refused(self, why: str) -> None:
        before, self._refusal = self._refusal, why
        if why != before:
            log.error("listener.not_changed", problem=self.problem)

    def _replace(self, old: _Open | None, new: _Open | None) -> None:
        with self._lock:
            stopped = self._stopped
            if not stopped:
                self._open, self._refusal = new, ""
                self.opened_at = time.time() if new is not None else None
                if old is not None:
                    self._draining.append(old.acceptor)
        if stopped:
            # The old one is being stopped already, with its associations.
            if new is not None:
                new.acceptor.stop(0)
            return
        if old is not None:
            threading.Thread(target=self._drain, args=(old, new), name="drain", daemon=True).start()
        log.info("listener.changed", bound=new.words if new is not None else "nothing")

    def _opened(self, wanted: Binding, old: _Open | None) -> _Open:
        """Return a new listener beside the old one, which it leaves as it is.

        Raises:
            CannotListen: the address or the port cannot be had.
            TlsUnusable: the certificate, key or authorities cannot be used.
        """
        tls = ServerTls(wanted.tls) if wanted.tls.enabled else None
        if tls is not None and tls.outdated and old is not None and old.binding.tls != wanted.tls:
            raise TlsUnusable(tls.outdated)
        acceptor = Acceptor(
            self._socket(wanted, old),
            tls,
            self._provider,
            self._network,
            lambda: self._config().storage.max_object_bytes,
            self._placement,
        )
        acceptor.start()
        return _Open(wanted, tls, acceptor)

    def _socket(self, wanted: Binding, old: _Open | None) -> socket.socket:
        if old is None or old.binding.port != wanted.port:
            return listening(wanted.host, wanted.port, reuse_port=self._reuse_port)
        if old.binding.host != wanted.host:
            return listening_beside(old.acceptor.listener, wanted.host)
        try:
            return old.acceptor.listener.dup()
        except OSError as error:
            raise CannotListen(f"the socket cannot be handed on: {error.strerror}") from error

    def _network(self) -> NetworkConfig:
        return self._config().network

    def _drain(self, old: _Open, new: _Open | None) -> None:
        if new is None:
            old.acceptor.stop(self._drain_seconds)
        else:
            old.acceptor.retire(handed_on=_same_socket(old.binding, new.binding))
        with self._lock:
            if old.acceptor in self._draining:
                self._draining.remove(old.acceptor)

    def _wanted(self) -> Binding | None:
        """Return what is wanted to be bound, None when the receiver is off."""
        config, desired = self._config(), self._desired()
        if not config.services.enabled or not desired.running:
            return None
        network = config.network
        return Binding(network.host, network.port, network.tls, desired.restarts)


def _same_socket(one: Binding, other: Binding) -> bool:
    return (one.host, one.port) == (other.host, other.port)
