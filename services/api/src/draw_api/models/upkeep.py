"""What rebuilding and comparing find out about disk and index."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of an object on the storage volume."""

    path: str
    size_bytes: int
    modified: float


@dataclass(slots=True)
class Reannounced:
    """What came of announcing some files."""

    unreadable: list[str] = field(default_factory=list)
    """Paths that no object can be read from."""
    deleted: list[str] = field(default_factory=list)
    """Paths of objects that were deleted since their reception: the indexers remove the files."""
    returned: set[str] = field(default_factory=set)
    """Studies that were deleted since an object's reception, and whose file is newer all the same.

    The object was received again, or the file was copied without its time.
    """


@dataclass(slots=True)
class Rebuilt:
    """What was announced again."""

    announced: int = 0
    size_bytes: int = 0
    deleted: int = 0
    """Objects that were deleted since their reception, and are not indexed again."""
    returned: set[str] = field(default_factory=set)
    """Studies that were deleted, and come back with files that are newer."""
    unreadable: list[str] = field(default_factory=list)


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
    """Files without row that may still be on their way into the index."""
    other_size: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything is wrong."""
        return bool(
            self.rows_without_file
            or self.conflicts_without_file
            or self.files_without_row
            or self.other_size
        )

    @property
    def lines(self) -> Iterator[str]:
        """Each difference in a line, and how many there are of each."""
        yield from (f"row without file: {uid} {path}" for uid, path in self.rows_without_file)
        yield from (f"conflict without file: {path}" for _, path in self.conflicts_without_file)
        yield from (f"file without row: {path}" for path in self.files_without_row)
        yield from (f"size differs: {path}" for path in self.other_size)
        yield self.summary

    @property
    def summary(self) -> str:
        """How many there are of each."""
        return (
            f"{self.files} files; {len(self.rows_without_file)} rows without file,"
            f" {len(self.conflicts_without_file)} conflicts without file,"
            f" {len(self.files_without_row)} files without row ({self.too_new} more are new),"
            f" {len(self.other_size)} sizes differ"
        )
