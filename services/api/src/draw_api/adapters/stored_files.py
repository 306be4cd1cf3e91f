"""Finds the objects on the storage volume, and announces them as after their reception."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition
from typing import Final

from typing_extensions import override

from draw_api.models.upkeep import FoundFile, Reannounced
from draw_api.ports.reconcile import StoredFiles
from draw_api.ports.reindex import Announcements
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.db.tombstones import Tombstones
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.messaging.publisher import BrokerSilent, Publisher
from draw_shared.storage import layout
from draw_shared.storage.outbox import event_of
from draw_shared.storage.places import Places
from draw_shared.storage.removal import StorageFiles, received_ns
from draw_shared.storage.stored_file import describe_file
from draw_shared.wording import message

READERS: Final = 4
MAX_IN_FLIGHT: Final = 2_000
CONFIRM_TIMEOUT_SECONDS: Final = 60.0
SECOND_NS: Final = 1_000_000_000


class VolumeFiles(StoredFiles):
    """Every file below `objects/` and `conflicts/`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = StorageFiles(root)

    @override
    def found(self) -> Iterator[FoundFile]:
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
                            yield FoundFile(path, status.st_size, received_ns(status) / 1e9)
            except FileNotFoundError:
                continue

    @override
    def exists(self, path: str) -> bool:
        return self._files.mark(path) is not None


class FileAnnouncements(Announcements):
    """Announces files again, with a bounded number of unconfirmed announcements."""

    def __init__(
        self,
        root: Path,
        publisher: Publisher,
        tombstones: Callable[[Sequence[InstanceStoredV1]], Tombstones],
    ) -> None:
        self._root = root
        self._files = StorageFiles(root)
        self._places = Places(root)
        self._publisher = publisher
        self._tombstones = tombstones
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reindex")
        self._changed = Condition()
        self._in_flight = 0
        self._refused: list[InstanceStoredV1] = []

    @override
    def announce(self, paths: list[str]) -> Reannounced:
        came = Reannounced()
        found: list[tuple[InstanceStoredV1, int]] = []
        for path, file in zip(paths, self._readers.map(self._event, paths), strict=True):
            if file is None:
                came.unreadable.append(path)
            else:
                found.append(file)
        tombstones = self._tombstones([event for event, _ in found])
        for event, modified_ns in found:
            before_ns = tombstones.before(event)
            if modified_ns < before_ns:
                came.deleted.append(event.path)
            elif event.occurred_at.timestamp() * SECOND_NS < before_ns:
                came.returned.add(event.study_instance_uid)
            # Deleted objects, too: the indexers find the deletion again, and remove the file.
            self.publish(event)
        return came

    @override
    def finish(self) -> None:
        while True:
            self._wait(lambda: self._in_flight == 0)
            with self._changed:
                again, self._refused = self._refused, []
            if not again:
                return
            for event in again:
                self.publish(event)

    @override
    def publish(self, event: InstanceStoredV1) -> None:
        self._wait(lambda: self._in_flight < MAX_IN_FLIGHT)
        with self._changed:
            self._in_flight += 1

        def on_confirm(good: bool) -> None:  # noqa: FBT001 - the publisher's callback
            with self._changed:
                self._in_flight -= 1
                if not good:
                    self._refused.append(event)
                self._changed.notify_all()

        self._publisher.publish(self._places.seal(event), on_confirm)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, CONFIRM_TIMEOUT_SECONDS):
                raise BrokerSilent(message("the broker does not take announcements"))

    def _event(self, path: str) -> tuple[InstanceStoredV1, int] | None:
        """Return the announcement of a file, and when the file was last wanted."""
        try:
            mark = self._files.mark(path)
            event = event_of(describe_file(self._root, path))
        except (FileNotFoundError, Undecodable, ValueError):
            # The file is damaged, not ours, or was deleted meanwhile.
            return None
        return None if mark is None else (event, mark.modified_ns)
