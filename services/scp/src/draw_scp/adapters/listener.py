"""Keeps the DICOM port as the configuration wants it.

Address, port and TLS cannot change on an open socket: the new listener is opened before
the old one stops, and the associations of the old one go on to their end. When both want
the same port, the old one stops listening first. A restart is a new listener on the same
port. A listener that cannot be opened leaves
the old one as it was, and is tried again. Everything else changes for new associations
without any of this.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from draw_shared.contracts.server_config import NetworkConfig, ServerConfig, TlsConfig
from draw_shared.dicom.acceptor import Acceptor, ListenerOptions
from draw_shared.dicom.placement import Placement
from draw_shared.dicom.service import ServiceProvider
from draw_shared.dicom.tls import ServerTls, TlsUnusable
from draw_shared.runtime.desired_state import Wanted
from draw_shared.runtime.periodic import Periodic

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0
HANDOVER_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Binding:
    """What a listener is bound to, and for which time it is opened."""

    host: str
    port: int
    tls: TlsConfig
    restarts: int = 0


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
        self._binding: Binding | None = None
        self._acceptor: Acceptor | None = None
        self._draining: list[Acceptor] = []
        self._stopped = False
        self.last_error = ""
        self.opened_at: float | None = None
        self._periodic = Periodic(self.name, self._reconcile, interval_seconds=INTERVAL_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether the port is as the configuration wants it, be it closed."""
        return self._binding == self._wanted()

    @property
    def port(self) -> int:
        """The port in use, 0 when none is."""
        acceptor = self._acceptor
        return acceptor.port if acceptor is not None else 0

    @property
    def active_associations(self) -> int:
        """How many associations are established now."""
        return sum(acceptor.active_associations for acceptor in self._acceptors())

    @property
    def connections(self) -> int:
        """How many connections are open now, associated or not."""
        return sum(acceptor.connections for acceptor in self._acceptors())

    def start(self) -> None:
        """Listen, if the configuration says so.

        Raises:
            OSError: the address cannot be bound.
            TlsUnusable: the certificate or key cannot be used.
        """
        wanted = self._wanted()
        with self._lock:
            if wanted is not None:
                self._acceptor = self._opened(wanted)
            self._binding = wanted
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
            self._acceptor = None
        threads = [
            threading.Thread(target=acceptor.stop, args=(deadline_seconds,))
            for acceptor in acceptors
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(deadline_seconds + 1)

    def _acceptors(self) -> list[Acceptor]:
        current = self._acceptor
        return [*self._draining, *([current] if current is not None else [])]

    def _reconcile(self) -> None:
        wanted = self._wanted()
        with self._lock:
            if wanted == self._binding or self._stopped:
                return
            try:
                self._change(wanted)
            except (OSError, TlsUnusable) as error:
                words = f"{type(error).__name__}: {error}"
                if words != self.last_error:
                    log.error("listener.not_changed", error=words)  # noqa: TRY400 - one line
                self.last_error = words

    def _change(self, wanted: Binding | None) -> None:
        old, before = self._acceptor, self._binding
        if wanted is None:
            self._acceptor = None
            self.opened_at = None
            self._drain(old)
        elif before is None or before.port != wanted.port:
            self._acceptor = self._opened(wanted)
            self._drain(old)
        else:
            self._drain(old)
            try:
                self._acceptor = self._opened_soon(wanted)
            except (OSError, TlsUnusable):
                self._acceptor = self._opened_soon(before)
                raise
        self._binding = wanted
        self.last_error = ""
        log.info("listener.changed", port=self.port)

    def _opened(self, binding: Binding) -> Acceptor:
        acceptor = Acceptor(
            ListenerOptions(
                binding.host,
                binding.port,
                self._reuse_port,
                ServerTls(binding.tls) if binding.tls.enabled else None,
            ),
            self._provider,
            self._network,
            lambda: self._config().storage.max_object_bytes,
            self._placement,
        )
        acceptor.start()
        self.opened_at = time.time()
        log.info("listener.opened", host=binding.host, port=acceptor.port, tls=binding.tls.enabled)
        return acceptor

    def _opened_soon(self, binding: Binding) -> Acceptor:
        """Open a listener whose port is about to become free."""
        deadline = time.monotonic() + HANDOVER_SECONDS
        while True:
            try:
                return self._opened(binding)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _network(self) -> NetworkConfig:
        return self._config().network

    def _drain(self, old: Acceptor | None) -> None:
        if old is None:
            return
        self._draining.append(old)
        threading.Thread(target=self._ended, args=(old,), name="drain", daemon=True).start()

    def _ended(self, old: Acceptor) -> None:
        old.stop(self._drain_seconds)
        with self._lock:
            if old in self._draining:
                self._draining.remove(old)

    def _wanted(self) -> Binding | None:
        """Return what is wanted to be bound, None when the receiver is off."""
        config, desired = self._config(), self._desired()
        if not config.services.enabled or not desired.running:
            return None
        network = config.network
        return Binding(network.host, network.port, network.tls, desired.restarts)
