"""The suite's configuration on the storage volume, for starts while the database is away.

All replicas of all services share two copies. A process that reads a new configuration from the
database writes them one after the other: to a file of its own, which it syncs and then renames,
so a reader finds the old or the new content. A hash reveals a damaged copy; the other copy then
serves. Only the newest version is kept, and an older one never replaces it, because the older
one may permit more.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import structlog

from draw_shared.contracts.config_snapshot import ConfigSnapshot, SnapshotDamaged, decode_snapshot
from draw_shared.storage.file_replacement import replace_file
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.layout import CONFIG

log = structlog.get_logger()


class ConfigFile:
    """Reads and writes the configuration below one storage root on behalf of one process."""

    def __init__(self, root: Path, writer: str) -> None:
        self._folder = root / CONFIG
        self._copies = (self._folder / "snapshot.json", self._folder / "snapshot.copy.json")
        self._writer = writer
        self._told: dict[str, str] = {}

    def newest(self) -> ConfigSnapshot | None:
        """Return the newer readable copy; an unreadable copy is logged once.

        Copies differ only during a write or after their writer died.
        """
        found = [one for one in map(self._read, self._copies) if one is not None]
        return max(found, key=lambda one: one.version, default=None)

    def keep(self, snapshot: ConfigSnapshot) -> None:
        """Write this version durably, unless the volume has it or a newer one already.

        Does nothing while another process writes; callers call again later.

        Raises:
            OSError: a copy could not be written; it keeps its old content.
        """
        if not self._outdated(snapshot):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_folders((str(self._folder.parent),))
        with self._turn() as mine:
            outdated = self._outdated(snapshot) if mine else []
            content = replace(snapshot, release=version("draw-shared")).encode()
            for path in outdated:
                replace_file(path, self._writer, content)

    def _outdated(self, snapshot: ConfigSnapshot) -> list[Path]:
        """Return the copies that this version must replace."""
        held = [(path, self._read(path)) for path in self._copies]
        if any(one is not None and one.version > snapshot.version for _, one in held):
            return []
        return [path for path, one in held if one != snapshot]

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Hold the write lock if it is free; yield whether this process may write."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mine = True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
            except OSError:
                # The volume cannot lock folders. Each file is still replaced as a whole, and
                # processes with a database repair a mix of two writers every second.
                pass
            yield mine
        finally:
            os.close(descriptor)

    def _read(self, path: Path) -> ConfigSnapshot | None:
        try:
            found = decode_snapshot(path.read_bytes())
        except FileNotFoundError:
            reason, found = "", None
        except OSError as error:
            reason, found = type(error).__name__, None
        except SnapshotDamaged as error:
            reason, found = str(error), None
        else:
            reason = ""
        if reason and reason != self._told.get(path.name):
            log.warning("config.snapshot_unreadable", file=path.name, reason=reason)
        self._told[path.name] = reason
        return found
