"""The suite's configuration on the storage volume, for who starts while the database is away.

Two copies of it for all replicas of all services. Who reads another configuration from the
database writes them, one after the other: to a file of his own, synced and then renamed, so
that a reader finds the old one or the new one. What is found is checked by its hash; where one
copy is damaged, the other has the same. No version before is kept, and none gives way to an
older one: it may be more open.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import structlog

from draw_shared.contracts.config_snapshot import ConfigSnapshot, SnapshotDamaged, decoded
from draw_shared.storage.file_replacement import replace_file
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.layout import CONFIG

log = structlog.get_logger()


class ConfigFile:
    """The configuration that a storage root keeps, read and written in the name of a process."""

    def __init__(self, root: Path, writer: str) -> None:
        self._folder = root / CONFIG
        self._copies = (self._folder / "snapshot.json", self._folder / "snapshot.copy.json")
        self._writer = writer
        self._told: dict[str, str] = {}

    def newest(self) -> ConfigSnapshot | None:
        """Return what is kept; a copy that cannot be read is said once in the log.

        Copies differ only while they are written, or when their writer died: the newer counts.
        """
        found = [one for one in map(self._read, self._copies) if one is not None]
        return max(found, key=lambda one: one.version, default=None)

    def keep(self, snapshot: ConfigSnapshot) -> None:
        """Have the volume keep this version durably, unless it keeps it or a newer one already.

        While another process writes, nothing is done: whoever calls, calls again.

        Raises:
            OSError: a copy could not be written; it keeps what it had.
        """
        if not self._outdated(snapshot):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_folders((str(self._folder.parent),))
        with self._turn() as mine:
            outdated = self._outdated(snapshot) if mine else []
            content = replace(snapshot, release=version("draw-shared")).encoded()
            for path in outdated:
                replace_file(path, self._writer, content)

    def _outdated(self, snapshot: ConfigSnapshot) -> list[Path]:
        """Return the copies that are to become this version."""
        held = [(path, self._read(path)) for path in self._copies]
        if any(one is not None and one.version > snapshot.version for _, one in held):
            return []
        return [path for path, one in held if one != snapshot]

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Hold the right to write, if nobody else has it: True."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mine = True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
            except OSError:
                # The volume locks no folders. Files are whole without it, and who has the
                # database puts right each second what two writers may have mixed up.
                pass
            yield mine
        finally:
            os.close(descriptor)

    def _read(self, path: Path) -> ConfigSnapshot | None:
        try:
            found = decoded(path.read_bytes())
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
