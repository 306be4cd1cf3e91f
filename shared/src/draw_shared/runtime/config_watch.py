"""Keeps the live configuration: read from the database each second, kept on disk between.

A service reads the configuration through `current`. With the database down, the last
version seen stays in force, also over a restart, because it is cached in a file; without
a cache, what the constructor was given is in force.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import ValidationError
from sqlalchemy import text

from draw_shared.contracts.server_config import ServerConfig
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.periodic import Periodic

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0

READ: Final = text(
    """
    SELECT version, document,
        (SELECT coalesce(jsonb_agg(jsonb_build_object('ae_title', ae_title,
            'expected_ip', expected_ip) ORDER BY ae_title), '[]')
         FROM allowed_ae_titles WHERE active) AS allowed
    FROM server_config ORDER BY version DESC LIMIT 1
    """
)


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A calling AE title that may associate; an empty address allows any."""

    ae_title: str
    expected_ip: str = ""


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """The configuration in force; version 0 was never in a database."""

    version: int
    server: ServerConfig
    allowed_peers: tuple[AllowedPeer, ...] = ()


class ConfigWatch:
    """Holds the configuration in force and tells listeners when it changes."""

    name = "config-watch"

    def __init__(self, database: Database, *, cache: Path | None, fallback: ServerConfig) -> None:
        self._database = database
        self._cache = cache
        self._lock = threading.Lock()
        self._listeners: list[Callable[[LiveConfig], None]] = []
        self._current = self._cached() or LiveConfig(0, fallback)
        self._periodic = Periodic(self.name, self.refresh, interval_seconds=INTERVAL_SECONDS)

    @property
    def current(self) -> LiveConfig:
        """The configuration in force now."""
        return self._current

    def on_change(self, listener: Callable[[LiveConfig], None]) -> None:
        """Have `listener` called, on the watching thread, after each change."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read once, if the database is there, then go on watching."""
        try:
            self.refresh()
        except Transient as error:
            log.warning(
                "config.database_unavailable", error=str(error), version=self._current.version
            )
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop watching."""
        self._periodic.stop(deadline_seconds)

    def wake(self) -> None:
        """Look now: somebody said that the configuration has changed."""
        self._periodic.wake()

    def refresh(self) -> None:
        """Read the configuration and tell the listeners when it is another one.

        Raises:
            DatabaseUnavailable: the one in force stays.
        """
        with self._database.session() as session:
            row = session.connection().execute(READ).mappings().first()
        if row is None:
            return
        try:
            found = _parsed(row["version"], row["document"], row["allowed"])
        except ValidationError as error:
            # A newer release wrote a document this one cannot read: keep what is known.
            log.warning("config.unreadable", version=row["version"], problems=error.error_count())
            return
        with self._lock:
            if found == self._current:
                return
            self._current = found
        self._write_cache(found)
        log.info("config.changed", version=found.version)
        for listener in self._listeners:
            try:
                listener(found)
            except Exception:
                log.exception("config.listener_failed", version=found.version)

    def _cached(self) -> LiveConfig | None:
        if self._cache is None or not self._cache.is_file():
            return None
        try:
            held = json.loads(self._cache.read_text(encoding="utf-8"))
            return _parsed(held["version"], held["document"], held["allowed"])
        except (ValueError, KeyError, OSError):
            log.warning("config.cache_unreadable")
            return None

    def _write_cache(self, config: LiveConfig) -> None:
        if self._cache is None:
            return
        held = {
            "version": config.version,
            "document": config.server.model_dump(mode="json"),
            "allowed": [
                {"ae_title": peer.ae_title, "expected_ip": peer.expected_ip}
                for peer in config.allowed_peers
            ],
        }
        fresh = self._cache.with_suffix(".new")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(held), encoding="utf-8")
            fresh.replace(self._cache)
        except OSError as error:
            log.warning("config.cache_not_written", error=type(error).__name__)


def _parsed(version: int, document: dict[str, Any], allowed: list[dict[str, str]]) -> LiveConfig:
    return LiveConfig(
        version=version,
        server=ServerConfig.model_validate(document),
        allowed_peers=tuple(AllowedPeer(**peer) for peer in allowed),
    )
