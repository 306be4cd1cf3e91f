"""Writes the state of this replica into `service_replicas` every two seconds."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import text

from draw_shared.contracts.replicas import ENDED
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.periodic import Periodic

INTERVAL_SECONDS: Final = 2.0

UPSERT: Final = text(
    """
    INSERT INTO service_replicas (replica, service, host, address, state, started_at,
        heartbeat_at, active_associations, config_version, last_error, details)
    VALUES (:replica, :service, :host, :address, :state, to_timestamp(:started_at), now(),
        :active_associations, :config_version, :last_error, CAST(:details AS jsonb))
    ON CONFLICT (replica) DO UPDATE SET service = EXCLUDED.service, host = EXCLUDED.host,
        address = EXCLUDED.address, state = EXCLUDED.state, started_at = EXCLUDED.started_at,
        heartbeat_at = EXCLUDED.heartbeat_at,
        active_associations = EXCLUDED.active_associations,
        config_version = EXCLUDED.config_version, last_error = EXCLUDED.last_error,
        details = EXCLUDED.details
    """
)


@dataclass(frozen=True, slots=True)
class Pulse:
    """The content of one heartbeat."""

    state: str
    address: str = ""
    active_associations: int = 0
    config_version: int = 0
    last_error: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    started_at: float | None = None
    """Unix time since which the replica runs; None: since the process started."""


class Heartbeat:
    """Keeps this replica's row fresh; an outage of the database only delays it."""

    name = "heartbeat"

    def __init__(
        self, database: Database, *, service: str, replica: str, pulse: Callable[[], Pulse]
    ) -> None:
        self._database = database
        self._service = service
        self._replica = replica
        self._pulse = pulse
        self._host = socket.gethostname()
        self._started_at = time.time()
        self._periodic = Periodic(self.name, self._beat, interval_seconds=INTERVAL_SECONDS)

    def start(self) -> None:
        """Start the heartbeat thread."""
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Write a last heartbeat with the state `ended`, if the database answers."""
        self._periodic.stop(deadline_seconds)
        with contextlib.suppress(Transient):
            self._write(Pulse(state=ENDED))

    def wake(self) -> None:
        """Write a heartbeat now, because the state has changed."""
        self._periodic.wake()

    def _beat(self) -> None:
        self._write(self._pulse())

    def _write(self, pulse: Pulse) -> None:
        with self._database.session() as session:
            session.connection().execute(
                UPSERT,
                {
                    "replica": self._replica,
                    "service": self._service,
                    "host": self._host,
                    "address": pulse.address,
                    "state": pulse.state,
                    "started_at": pulse.started_at or self._started_at,
                    "active_associations": pulse.active_associations,
                    "config_version": pulse.config_version,
                    "last_error": pulse.last_error,
                    "details": json.dumps(dict(pulse.details)),
                },
            )
            session.commit()
