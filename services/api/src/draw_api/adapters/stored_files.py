"""The objects on the storage volume: found by walking, read as after their reception."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from typing import Final

from draw_api.models.upkeep import FoundFile
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.dicom import part10
from draw_shared.dicom.scan import Undecodable
from draw_shared.errors import Transient
from draw_shared.messaging.publisher import Publisher
from draw_shared.storage import layout
from draw_shared.storage.identification import identify
from draw_shared.storage.objects import Stored, hash_rest, received_at
from draw_shared.storage.outbox import event_of
from draw_shared.storage.removal import StorageFiles

READERS: Final = 4
MOST_IN_FLIGHT: Final = 2_000
PATIENCE_SECONDS: Final = 60.0


class BrokerSilent(Transient):
    """The broker does not confirm what is announced."""


class ObjectFiles:
    """Every file below `objects/` and `conflicts/`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = StorageFiles(root)

    def found(self) -> Iterator[FoundFile]:
        """Yield every file of an object; what vanishes meanwhile is left out."""
        waiting = deque((layout.OBJECTS, layout.CONFLICTS))
        while waiting:
            folder = waiting.popleft()
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(path)
                        elif entry.is_file(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            yield FoundFile(path, status.st_size, status.st_mtime)
            except FileNotFoundError:
                continue

    def exists(self, path: str) -> bool:
        """Return whether a file is there now."""
        return self._files.mark(path) is not None


class FileAnnouncements:
    """Announces files anew, a bounded number of them on their way to the broker."""

    def __init__(self, root: Path, publisher: Publisher) -> None:
        self._root = root
        self._publisher = publisher
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reindex")
        self._changed = Condition()
        self._in_flight = 0
        self._refused: list[InstanceStoredV1] = []

    def announce(self, paths: list[str]) -> list[str]:
        """Announce these objects anew; return the paths that no object can be read from.

        Raises:
            BrokerSilent: the broker does not take them.
        """
        unreadable = []
        for path, event in zip(paths, self._readers.map(self._event, paths), strict=True):
            if event is None:
                unreadable.append(path)
            else:
                self._publish(event)
        return unreadable

    def finish(self) -> None:
        """Return once the broker has everything that was announced."""
        while True:
            self._wait(lambda: self._in_flight == 0)
            with self._changed:
                again, self._refused = self._refused, []
            if not again:
                return
            for event in again:
                self._publish(event)

    def _publish(self, event: InstanceStoredV1) -> None:
        self._wait(lambda: self._in_flight < MOST_IN_FLIGHT)
        with self._changed:
            self._in_flight += 1

        def confirmed(good: bool) -> None:  # noqa: FBT001 - the publisher's callback
            with self._changed:
                self._in_flight -= 1
                if not good:
                    self._refused.append(event)
                self._changed.notify_all()

        self._publisher.publish(event, confirmed)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE_SECONDS):
                raise BrokerSilent("the broker does not take announcements")

    def _event(self, path: str) -> InstanceStoredV1 | None:
        try:
            return event_of(described(self._root, path))
        except (FileNotFoundError, Undecodable, ValueError):
            # Damaged, none of ours, or deleted meanwhile.
            return None


def described(root: Path, path: str) -> Stored:
    """Return what lies at a path, from the file alone; a file of others was received when written.

    Raises:
        Undecodable, ValueError: it is no object.
        OSError: it cannot be read.
    """
    with (root / path).open("rb") as file:
        status = os.fstat(file.fileno())
        meta, offset = part10.decode(file.read(part10.LONGEST_META))
        identity = identify(
            lambda most: os.pread(file.fileno(), most, offset),
            status.st_size - offset,
            meta.transfer_syntax_uid,
        ).identity
        file.seek(offset)
        digest = hash_rest(file.read)
    try:
        received = received_at(meta, "")
    except ValueError:
        received = datetime.fromtimestamp(status.st_mtime, UTC)
    return Stored("", path, status.st_size, digest, received, meta, identity, duplicate=False)
