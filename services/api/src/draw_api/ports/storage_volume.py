"""Port of what must lie outside the storage: the volume."""

from typing import Protocol


class StorageVolume(Protocol):
    """The volume on which objects are stored."""

    def overlaps(self, folder: str) -> bool:
        """Return whether a folder is the storage root, is inside it or contains it."""
