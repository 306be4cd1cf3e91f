"""What disk and broker say about themselves; neither may keep an answer waiting."""

from collections.abc import Callable, Mapping
from pathlib import Path

from draw_shared.messaging.announcement_backlog import unindexed
from draw_shared.storage.folders import overlap
from draw_shared.storage.space import DiskRoom, disk_room


class SystemHostStatus:
    """The storage volume, and the broker as last seen."""

    def __init__(self, storage_root: Path, queue_depths: Callable[[], Mapping[str, int]]) -> None:
        self._root = storage_root
        self._queue_depths = queue_depths

    def disk(self) -> DiskRoom | None:
        """Return the room on the storage volume, or None when it cannot be seen from here."""
        try:
            return disk_room(self._root)
        except OSError:
            return None

    def overlaps(self, folder: str) -> bool:
        """Return whether a folder is the storage root, lies inside it or has it inside."""
        return overlap(Path(folder), self._root)

    def queue_depths(self) -> Mapping[str, int]:
        """Return the messages waiting, by queue, as last seen."""
        return self._queue_depths()

    def unindexed(self) -> int:
        """Return how many announcements wait for the index, as last seen."""
        return unindexed(self.queue_depths())
