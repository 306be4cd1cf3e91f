"""Keeps the DICOM ports as the configuration wants them: without TLS, with TLS, or both.

Address, ports and TLS cannot be changed on an open socket. So a new listener reads its files and
binds its ports first, and the old one stops only when the new one listens. On the same address
both use the same sockets; on another address they share the port for that moment, so that no peer
is refused. Associations of the old listener are served to their end. A restart is a new listener
on the same sockets. If the new listener cannot be opened, the old one stays. If there is no old
one, one of two ports is opened if that is possible alone; otherwise the ports stay closed. Failed
attempts are repeated each second, and `problem` says why they fail. All other changes apply to
new associations without a new listener. Only the receiver listens: its receiving processes get
accepted associations, so whatever is checked here holds for all of them.
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
from draw_shared.dicom.network.listening import CannotListen, format_address, listen, listen_beside
from draw_shared.dicom.network.placement import Placement
from draw_shared.dicom.network.service import ServiceProvider
from draw_shared.dicom.network.tls import ServerTls, TlsFiles, TlsUnusable
from draw_shared.runtime.desired_state import Wanted
from draw_shared.runtime.periodic import Periodic
from draw_shared.wording import message

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Binding:
    """What a listener is bound to; a restart makes it another binding."""

    host: str
    ports: tuple[ListeningPort, ...]
    tls: TlsFiles
    restarts: int = 0

    @property
    def speaks_tls(self) -> bool:
        """Whether one of the ports uses TLS."""
        return any(port.tls for port in self.ports)


@dataclass(frozen=True, slots=True)
class _ConfigLimits:
    """The limits from one version of the configuration."""

    config: ServerConfig
    limits: AcceptorLimits

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """Return the limits of a configuration."""
        return cls(config, acceptor_limits(config))


@dataclass(frozen=True, slots=True)
class _OpenListener:
    """An open listener and what it was opened for."""

    binding: Binding
    tls: ServerTls | None
    acceptor: Acceptor

    @property
    def words(self) -> str:
        """Where it listens, and whether with TLS."""
        return " and ".join(
            f"{format_address(self.binding.host, port)} {'with' if tls else 'without'} TLS"
            for port, tls in self.ports
        )

    @property
    def ports(self) -> tuple[ListeningPort, ...]:
        """The ports it really listens on."""
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
        self._open: _OpenListener | None = None
        self._draining: list[Acceptor] = []
        self._stopped = False
        self._refusal = ""
        self.opened_at: float | None = None
        self._periodic = Periodic(self.name, self._reconcile, interval_seconds=INTERVAL_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether a port is open, even one other than configured, or all are closed on purpose."""
        return self._open is not None or self._wanted_binding() is None

    @property
    def as_wanted(self) -> bool:
        """Whether the ports are as configured; that may be closed."""
        found = self._open
        return (found.binding if found is not None else None) == self._wanted_binding()

    @property
    def problem(self) -> str:
        """Why the ports are not as configured; empty when they are."""
        found, refusal = self._open, self._refusal
        if refusal and found is None:
            return message("not listening, because %(reason)s", reason=refusal)
        if refusal and found is not None:
            return message(
                "still on %(ports)s, because %(reason)s", ports=found.words, reason=refusal
            )
        return found.tls.problem if found is not None and found.tls is not None else ""

    @property
    def port(self) -> int:
        """The port in use, of two the one without TLS; 0 if there is none."""
        found = self._open
        return found.acceptor.port if found is not None else 0

    @property
    def bound(self) -> list[dict[str, str | int | bool]]:
        """Where associations are accepted: host, port and whether with TLS, plain first."""
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
        """Listen, if configured; ports that cannot be opened are tried again."""
        self._reconcile()
        self._periodic.start()

    def apply(self) -> None:
        """Apply the current configuration now."""
        self._periodic.wake()

    def stop(self, deadline_seconds: float) -> None:
        """Accept no new associations, and let the open ones finish."""
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
        wanted, old = self._wanted_binding(), self._open
        if wanted == (old.binding if old is not None else None):
            self._refusal = ""
            return
        try:
            new = self._open_listener(wanted, old) if wanted is not None else None
        except (CannotListen, TlsUnusable) as error:
            self._note_refusal(str(error))
            if old is None and wanted is not None:
                self._open_in_part(wanted)
            return
        self._refusal = ""
        self._replace(old, new)

    def _open_in_part(self, wanted: Binding) -> None:
        """Open the one of two ports that can be bound; the other is tried again."""
        for port in wanted.ports if len(wanted.ports) > 1 else ():
            try:
                new = self._open_listener(replace(wanted, ports=(port,)), None)
            except (CannotListen, TlsUnusable):
                continue
            self._replace(None, new)
            return

    def _note_refusal(self, why: str) -> None:
        before, self._refusal = self._refusal, why
        if why != before:
            log.error("listener.not_changed", problem=self.problem)

    def _replace(self, old: _OpenListener | None, new: _OpenListener | None) -> None:
        with self._lock:
            stopped = self._stopped
            if not stopped:
                self._open = new
                self.opened_at = time.time() if new is not None else None
                if old is not None:
                    self._draining.append(old.acceptor)
        if stopped:
            # The old one is already stopping, with its associations.
            if new is not None:
                new.acceptor.stop(0)
            return
        if old is not None:
            threading.Thread(target=self._drain, args=(old, new), name="drain", daemon=True).start()
        log.info("listener.changed", bound=new.words if new is not None else "nothing")

    def _open_listener(self, wanted: Binding, old: _OpenListener | None) -> _OpenListener:
        """Open a new listener beside the old one, which stays as it is.

        Raises:
            CannotListen: the address or the port cannot be bound.
            TlsUnusable: the certificate, key or authorities cannot be used.
        """
        numbers = {port.port for port in wanted.ports}
        if len(numbers) < len(wanted.ports):
            raise CannotListen(
                message(
                    "port %(numbers)s is wanted both with and without TLS", numbers=numbers.pop()
                )
            )
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
        return _OpenListener(wanted, tls, acceptor)

    def _sockets(self, wanted: Binding, old: _OpenListener | None) -> list[socket.socket]:
        with ExitStack() as made:
            sockets = [
                made.enter_context(self._socket(wanted.host, port.port, old))
                for port in wanted.ports
            ]
            made.pop_all()
        return sockets

    def _socket(self, host: str, port: int, old: _OpenListener | None) -> socket.socket:
        earlier = _earlier_socket(old, port)
        if old is None or earlier is None:
            return listen(host, port, reuse_port=self._reuse_port)
        if old.binding.host != host:
            return listen_beside(earlier, host)
        try:
            return earlier.dup()
        except OSError as error:
            raise CannotListen(
                message("the socket cannot be handed on: %(strerror)s", strerror=error.strerror)
            ) from error

    def _limits(self) -> AcceptorLimits:
        """Return the limits in force; each version of the configuration is converted once."""
        last, config = self._last_limits, self._config()
        if config is not last.config:
            last = self._last_limits = _ConfigLimits.of(config)
        return last.limits

    def _drain(self, old: _OpenListener, new: _OpenListener | None) -> None:
        if new is None:
            old.acceptor.stop(self._drain_seconds)
        else:
            old.acceptor.retire(handed_on=_handed_on(old.binding, new.binding))
        with self._lock:
            if old.acceptor in self._draining:
                self._draining.remove(old.acceptor)

    def _wanted_binding(self) -> Binding | None:
        """Return the configured binding, or None when the receiver is off."""
        config, desired = self._config(), self._desired()
        if not config.services.enabled or not desired.running:
            return None
        network = config.network
        return Binding(network.host, network.ports, tls_files(network.tls), desired.restarts)


def _earlier_socket(old: _OpenListener | None, port: int) -> socket.socket | None:
    """Return the old socket that listens on a port, or None."""
    if old is None:
        return None
    doors = zip(old.binding.ports, old.acceptor.doors, strict=True)
    return next((door.listener for held, door in doors if held.port == port), None)


def _handed_on(old: Binding, new: Binding) -> frozenset[int]:
    """Return the ports whose sockets both bindings use."""
    if old.host != new.host:
        return frozenset()
    return frozenset(p.port for p in old.ports) & frozenset(p.port for p in new.ports)


def _same_tls(old: _OpenListener, wanted: Binding) -> bool:
    """Return whether the old listener speaks TLS with the same files."""
    return old.tls is not None and old.binding.tls == wanted.tls
