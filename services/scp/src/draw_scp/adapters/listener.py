"""Keeps the DICOM ports as the configuration wants them: without TLS, with TLS, or both.

Address, ports and TLS cannot change on an open socket: a new listener is proved first, its
files read and its ports taken, and only when it listens does the old one stop. On the same
address both have the same sockets, on the same port of another address they share the port
for that moment, so that nobody is refused in between. Who has connected to the old one is
served to the end. A restart is a new listener on the same sockets. A listener that cannot be
opened leaves the old one as it was. Where there is none, one of its two ports is opened if
that can be had alone, else they stay closed. It is tried again each second, and `problem` says
why. Everything else changes for new associations without any of this. Only the receiver itself
listens: its receiving processes are handed what it has accepted, so what is proved here holds
for all of them.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Self

import structlog

from draw_shared.contracts.association_rules import acceptor_limits, tls_files
from draw_shared.contracts.server_config import ListeningPort, ServerConfig
from draw_shared.dicom.network.acceptor import Acceptor, Door
from draw_shared.dicom.network.budgets import Budgets
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.listening import CannotListen, listening, listening_beside, spoken
from draw_shared.dicom.network.placement import Placement
from draw_shared.dicom.network.service import ServiceProvider
from draw_shared.dicom.network.tls import ServerTls, TlsFiles, TlsUnusable
from draw_shared.runtime.desired_state import Wanted
from draw_shared.runtime.periodic import Periodic

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Binding:
    """What a listener is bound to, and for which time it is opened."""

    host: str
    ports: tuple[ListeningPort, ...]
    tls: TlsFiles
    restarts: int = 0

    @property
    def speaks_tls(self) -> bool:
        """Whether one of the ports is for TLS."""
        return any(port.tls for port in self.ports)


@dataclass(frozen=True, slots=True)
class _ConfigLimits:
    """The limits that one version of the configuration sets."""

    config: ServerConfig
    limits: AcceptorLimits

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """Return the limits of a configuration."""
        return cls(config, acceptor_limits(config))


@dataclass(frozen=True, slots=True)
class _Open:
    """A listener that is open, and what it was opened for."""

    binding: Binding
    tls: ServerTls | None
    acceptor: Acceptor

    @property
    def words(self) -> str:
        """Where it listens, and whether with TLS."""
        return " and ".join(
            f"{spoken(self.binding.host, port.port)} {'with' if port.tls else 'without'} TLS"
            for port in self.ports
        )

    @property
    def ports(self) -> tuple[ListeningPort, ...]:
        """Its ports as they really are."""
        given = zip(self.acceptor.ports, self.binding.ports, strict=True)
        return tuple(ListeningPort(port, wanted.tls) for port, wanted in given)


class Listener:
    """The DICOM ports of this process."""

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
        self._last_limits = _ConfigLimits.of(config())
        self._budgets = Budgets(self._limits)
        self._lock = threading.Lock()
        self._open: _Open | None = None
        self._draining: list[Acceptor] = []
        self._stopped = False
        self._refusal = ""
        self.opened_at: float | None = None
        self._periodic = Periodic(self.name, self._reconcile, interval_seconds=INTERVAL_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether a port is open, be it another than wanted, or all closed as they shall be."""
        return self._open is not None or self._wanted() is None

    @property
    def as_wanted(self) -> bool:
        """Whether the ports are as the configuration wants them, be they closed."""
        found = self._open
        return (found.binding if found is not None else None) == self._wanted()

    @property
    def problem(self) -> str:
        """Why the ports are not as the configuration wants them; empty when they are."""
        found, refusal = self._open, self._refusal
        if refusal:
            return f"{f'still on {found.words}' if found else 'not listening'}, because {refusal}"
        return found.tls.problem if found is not None and found.tls is not None else ""

    @property
    def port(self) -> int:
        """The port in use, of two the one without TLS; 0 when none is."""
        found = self._open
        return found.acceptor.port if found is not None else 0

    @property
    def bound(self) -> list[dict[str, str | int | bool]]:
        """Where associations are really accepted: host, port and whether with TLS, plain first."""
        found = self._open
        if found is None:
            return []
        host = found.binding.host
        return [{"host": host, "port": one.port, "tls": one.tls} for one in found.ports]

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
            if old is None and wanted is not None:
                self._open_in_part(wanted)
            return
        self._refusal = ""
        self._replace(old, new)

    def _open_in_part(self, wanted: Binding) -> None:
        """Open the one of two ports that can be had; the other is tried again."""
        for port in wanted.ports if len(wanted.ports) > 1 else ():
            try:
                new = self._opened(replace(wanted, ports=(port,)), None)
            except (CannotListen, TlsUnusable):
                continue
            self._replace(None, new)
            return

    def _refused(self, why: str) -> None:
        before, self._refusal = self._refusal, why
        if why != before:
            log.error("listener.not_changed", problem=self.problem)

    def _replace(self, old: _Open | None, new: _Open | None) -> None:
        with self._lock:
            stopped = self._stopped
            if not stopped:
                self._open = new
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
        numbers = {port.port for port in wanted.ports}
        if len(numbers) < len(wanted.ports):
            raise CannotListen(f"port {numbers.pop()} is wanted both with and without TLS")
        tls = ServerTls(wanted.tls) if wanted.speaks_tls else None
        if tls is not None and tls.outdated and old is not None and not _same_tls(old, wanted):
            raise TlsUnusable(tls.outdated)
        sockets = self._sockets(wanted, old)
        acceptor = Acceptor(
            [
                Door(one, tls if port.tls else None)
                for one, port in zip(sockets, wanted.ports, strict=True)
            ],
            self._provider,
            self._limits,
            self._placement,
            self._budgets,
        )
        acceptor.start()
        return _Open(wanted, tls, acceptor)

    def _sockets(self, wanted: Binding, old: _Open | None) -> list[socket.socket]:
        with ExitStack() as made:
            sockets = [
                made.enter_context(self._socket(wanted.host, port.port, old))
                for port in wanted.ports
            ]
            made.pop_all()
        return sockets

    def _socket(self, host: str, port: int, old: _Open | None) -> socket.socket:
        earlier = _earlier(old, port)
        if old is None or earlier is None:
            return listening(host, port, reuse_port=self._reuse_port)
        if old.binding.host != host:
            return listening_beside(earlier, host)
        try:
            return earlier.dup()
        except OSError as error:
            raise CannotListen(f"the socket cannot be handed on: {error.strerror}") from error

    def _limits(self) -> AcceptorLimits:
        """Return the limits in force; each version of the configuration is translated once."""
        last, config = self._last_limits, self._config()
        if config is not last.config:
            last = self._last_limits = _ConfigLimits.of(config)
        return last.limits

    def _drain(self, old: _Open, new: _Open | None) -> None:
        if new is None:
            old.acceptor.stop(self._drain_seconds)
        else:
            old.acceptor.retire(handed_on=_handed_on(old.binding, new.binding))
        with self._lock:
            if old.acceptor in self._draining:
                self._draining.remove(old.acceptor)

    def _wanted(self) -> Binding | None:
        """Return what is wanted to be bound, None when the receiver is off."""
        config, desired = self._config(), self._desired()
        if not config.services.enabled or not desired.running:
            return None
        network = config.network
        return Binding(network.host, network.ports, tls_files(network.tls), desired.restarts)


def _earlier(old: _Open | None, port: int) -> socket.socket | None:
    """Return the socket that listens on a port by now."""
    if old is None:
        return None
    doors = zip(old.binding.ports, old.acceptor.doors, strict=True)
    return next((door.listener for held, door in doors if held.port == port), None)


def _handed_on(old: Binding, new: Binding) -> frozenset[int]:
    """Return the ports whose sockets both have."""
    if old.host != new.host:
        return frozenset()
    return frozenset(p.port for p in old.ports) & frozenset(p.port for p in new.ports)


def _same_tls(old: _Open, wanted: Binding) -> bool:
    """Return whether TLS is spoken by now, with the same files."""
    return old.tls is not None and old.binding.tls == wanted.tls
