"""The results of rebuilding the index and of comparing it with the disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of an object on the storage volume."""

    path: str
    size_bytes: int
    modified: float


@dataclass(slots=True)
class Reannounced:
    """The result of announcing some files."""

    unreadable: list[str] = field(default_factory=list)
    """Paths of files that contain no readable object."""
    deleted: list[str] = field(default_factory=list)
    """Paths of objects that were deleted after their reception: the indexers remove the files."""
    returned: set[str] = field(default_factory=set)
    """Deleted studies with a file that is newer than the deletion.

    The object was received again, or the file was copied without its time.
    """


@dataclass(slots=True)
class Rebuilt:
    """What was announced again."""

    announced: int = 0
    size_bytes: int = 0
    deleted: int = 0
    """Objects that were deleted after their reception, and are not indexed again."""
    returned: set[str] = field(default_factory=set)
    """Deleted studies that come back with files that are newer."""
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LostRows:
    """What was deleted from the index because its files are lost."""

    instances: int
    studies: Sequence[str]
    """UIDs of the studies that have nothing left."""


@dataclass(slots=True)
class Differences:
    """How disk and index differ."""

    files: int = 0
    rows_without_file: list[tuple[str, str]] = field(default_factory=list)
    """Current objects, by SOP Instance UID and path."""
    conflicts_without_file: list[tuple[int, str]] = field(default_factory=list)
    """Records of conflicts, by their number and path."""
    files_without_row: list[str] = field(default_factory=list)
    too_new: int = 0
    """Files without a row that may still be on their way into the index."""
    other_size: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether there is any difference."""
        return bool(
            self.rows_without_file
            or self.conflicts_without_file
            or self.files_without_row
            or self.other_size
        )

    @property
    def lines(self) -> Iterator[str]:
        """Each difference in a line, and the number of each kind."""
        yield from (f"row without file: {uid} {path}" for uid, path in self.rows_without_file)
        yield from (f"conflict without file: {path}" for _, path in self.conflicts_without_file)
        yield from (f"file without row: {path}" for path in self.files_without_row)
        yield from (f"size differs: {path}" for path in self.other_size)
        yield self.summary

    @property
    def summary(self) -> str:
        """The number of each kind."""
        return (
            f"{self.files} files; {len(self.rows_without_file)} rows without file,"
            f" {len(self.conflicts_without_file)} conflicts without file,"
            f" {len(self.files_without_row)} files without row ({self.too_new} more are new),"
            f" {len(self.other_size)} sizes differ"
        )
