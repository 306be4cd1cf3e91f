"""Values of the DICOMweb service."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from draw_shared.dicom.network.statuses import DimseStatus

ROOT: Final = "/dicom-web"
"""Where the addresses of DICOMweb begin."""


@dataclass(frozen=True, slots=True)
class UidPath:
    """What an address names: a study, a series of it, or an instance of that."""

    study: str = ""
    series: str = ""
    instance: str = ""

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Keywords and UIDs, from the study down."""
        named = (
            ("StudyInstanceUID", self.study),
            ("SeriesInstanceUID", self.series),
            ("SOPInstanceUID", self.instance),
        )
        return [(keyword, uid) for keyword, uid in named if uid]


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """One object as the index knows it; `path` is relative to the storage root."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    size_bytes: int
    """Size of its file."""


@dataclass(frozen=True, slots=True)
class SeriesState:
    """What a series consists of, in a word that changes with every object."""

    series_pk: int
    series_instance_uid: str
    state: str
    kept: str | None
    """The state in which its kept document was made."""


@dataclass(frozen=True, slots=True)
class BulkRange:
    """One long value of an object."""

    vr: str
    length: int
    """Bytes."""
    read: Callable[[int, int], Iterator[bytes]]
    """Yields its bytes from one position to before another."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one object, as they are stored."""

    number: int
    encapsulated: bool
    """Whether they are code streams of the object's transfer syntax."""
    read: Callable[[int], bytes]
    """Returns one, counted from 1."""
    decode: Callable[[int], bytes]
    """Returns one as native pixel data in little endian."""


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one object of a store request."""

    sop_class_uid: str
    sop_instance_uid: str
    """Both are empty if the part did not say what it is."""
    status: int
    """As C-STORE answers it (PS3.4 B.2.3)."""
    reason: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    size_bytes: int = 0
    duplicate: bool = False
    seconds: float = 0.0

    @property
    def stored(self) -> bool:
        """Whether it is durable."""
        return self.status == DimseStatus.SUCCESS
