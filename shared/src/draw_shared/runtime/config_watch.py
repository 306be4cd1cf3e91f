"""Provides the configuration in force: that of the database, or else that of the storage volume.

The watch reads the database every second and writes the configuration to the storage volume for
all replicas of all services. While the database is away, the last configuration stays in force; a
replica that has just started, or lost the database earlier, reads the newer one on the volume.
If neither has a configuration that this release can read, nobody is served (`CLOSED`), because a
default may permit more than the operator's configuration. If the database returns older than the
volume, restored or empty, the indexer first writes the volume's configuration into it.
"""

import time
from dataclasses import dataclass
from typing import Final

import structlog
from typing_extensions import override

from draw_shared.contracts.config_reading import ConfigUnreadable, read_config
from draw_shared.contracts.config_snapshot import AllowedPeer, ConfigSnapshot
from draw_shared.contracts.server_config import CLOSED, ServerConfig
from draw_shared.db import config_versions
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.cached_watch import CachedWatch
from draw_shared.storage.config_file import ConfigFile
from draw_shared.wording import message

log = structlog.get_logger()

NONE_KNOWN: Final = message(
    "neither the database nor the storage volume has a configuration that this release can read"
)
NOT_KEPT: Final = message(
    "the storage volume does not take this version of the configuration; a "
    "replica that starts while the database is away works by an older one"
)


class ConfigUnknown(Transient):
    """No configuration is known yet."""


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """The configuration in force; version 0 means none."""

    version: int
    server: ServerConfig
    allowed_peers: tuple[AllowedPeer, ...] = ()


class ConfigWatch(CachedWatch[LiveConfig]):
    """Holds the configuration in force and tells listeners when it changes.

    Args:
        catches_up: whether this service may write the volume's configuration into an older
            database; the other services only read it.
    """

    name = "config-watch"

    def __init__(self, database: Database, file: ConfigFile, *, catches_up: bool = False) -> None:
        super().__init__(database, LiveConfig(0, CLOSED))
        self._catches_up = catches_up
        self._file = file
        self._taken: ConfigSnapshot | None = None
        self._refused: ConfigSnapshot | None = None
        self._partly = ""
        self._away_since: float | None = time.monotonic()
        self._away_told = False
        self._take_kept()

    @property
    def current(self) -> LiveConfig:
        """The configuration in force now, `CLOSED` while there is none."""
        return self._current

    @property
    def known(self) -> bool:
        """Whether a configuration is known."""
        return self._current.version > 0

    @property
    def server(self) -> ServerConfig:
        """The document in force.

        Raises:
            ConfigUnknown: no configuration is known.
        """
        if not self.known:
            raise ConfigUnknown(NONE_KNOWN)
        return self._current.server

    @property
    def trouble(self) -> str:
        """A problem with the configuration here, for the operator; empty if there is none."""
        if not self.known:
            return NONE_KNOWN
        return "; ".join(filter(None, (self._partly, NOT_KEPT if self._unwritten else "")))

    @property
    def away_seconds(self) -> float:
        """How long the configuration could not be read from the database; 0 while it can."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    @override
    def refresh(self) -> None:
        try:
            said = self._read_newest()
        except Transient as error:
            self._went_away(error)
            self._take_kept()
            raise
        self._came_back()
        if said is not None and self._take(said):
            with self._keeping():
                self._file.keep(said)
        else:
            self._take_kept()

    def _read_newest(self) -> ConfigSnapshot | None:
        """Return the configuration of the database, or a newer one of the volume."""
        with self._database.session() as session:
            said = config_versions.newest(session)
            found = said.version if said is not None else 0
            kept = self._file.newest()
            if kept is None or kept.version <= found or not self._readable(kept):
                return said
            if self._catches_up and config_versions.catch_up(session, kept, found):
                session.commit()
                log.warning("config.database_caught_up", version=kept.version, database=found)
            return kept

    def _take_kept(self) -> None:
        """Apply the volume's configuration, if it is newer and this release can read it."""
        kept = self._file.newest()
        held = self._current.version
        # At the same version the allowed AE titles may differ. The volume is newer if another
        # replica has written it, but not if our own last write failed.
        if kept is not None and (
            kept.version > held or (kept.version == held and not self._unwritten)
        ):
            self._take(kept)

    def _take(self, snapshot: ConfigSnapshot) -> bool:
        """Put a version in force if this release can read it; return whether it did."""
        if snapshot == self._taken:
            return True
        try:
            reading = read_config(snapshot.document)
        except ConfigUnreadable as error:
            if snapshot != self._refused:
                log.error("config.unreadable", version=snapshot.version, fields=str(error))  # noqa: TRY400 - one line
            self._refused = snapshot
            return False
        live = LiveConfig(snapshot.version, reading.config, snapshot.allowed)
        with self._lock:
            self._taken, self._current = snapshot, live
        log.info("config.changed", version=live.version)
        fields = (*reading.unknown, *reading.tightened)
        self._partly = ""
        if fields:
            self._partly = message(
                "this release does not know of the configuration: %(fields)s",
                fields=", ".join(fields),
            )
            log.warning(
                "config.partly_read",
                version=live.version,
                unknown=reading.unknown,
                tightened=reading.tightened,
            )
        self._tell()
        return True

    def _readable(self, snapshot: ConfigSnapshot) -> bool:
        if snapshot == self._taken:
            return True
        try:
            read_config(snapshot.document)
        except ConfigUnreadable:
            return False
        return True

    def _went_away(self, error: Transient) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
        if not self._away_told:
            log.warning(
                "config.database_unavailable", error=str(error), version=self._current.version
            )
        self._away_told = True

    def _came_back(self) -> None:
        if self._away_told:
            log.info("config.database_back", away_seconds=round(self.away_seconds, 1))
        self._away_since, self._away_told = None, False

    @override
    def _log_start_without_database(self, error: Transient) -> None:
        if not self.known:
            log.error("config.unknown", reason=NONE_KNOWN)

    @override
    def _log_listener_failed(self) -> None:
        log.exception("config.listener_failed", version=self._current.version)  # noqa: LOG004 - called in one

    @override
    def _log_not_kept(self, reason: str) -> None:
        log.warning("config.snapshot_not_written", error=reason)
