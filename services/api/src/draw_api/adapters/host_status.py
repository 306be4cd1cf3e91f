"""Reads the state of disk and broker without delaying an answer."""

from collections.abc import Callable, Mapping
from pathlib import Path

from typing_extensions import override

from draw_api.ports.status import HostStatus
from draw_api.ports.storage_volume import StorageVolume
from draw_shared.messaging.announcement_backlog import unindexed
from draw_shared.storage.folders import overlap
from draw_shared.storage.space import DiskRoom, disk_room


class SystemHostStatus(HostStatus, StorageVolume):
    """The storage volume, and the last known state of the broker."""

    def __init__(self, storage_root: Path, queue_depths: Callable[[], Mapping[str, int]]) -> None:
        self._root = storage_root
        self._queue_depths = queue_depths

    @override
    def disk(self) -> DiskRoom | None:
        try:
            return disk_room(self._root)
        except OSError:
            return None

    @override
    def overlaps(self, folder: str) -> bool:
        return overlap(Path(folder), self._root)

    @override
    def queue_depths(self) -> Mapping[str, int]:
        return self._queue_depths()

    def unindexed(self) -> int:
        """Return the last known number of announcements that wait for the index."""
        return unindexed(self.queue_depths())
