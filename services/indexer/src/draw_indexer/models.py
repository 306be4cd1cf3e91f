"""What the indexer knows of objects, versions and rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Final

from draw_shared.db.sources import source_name
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.query.keys import Level
from draw_shared.errors import Permanent, Transient

Row = dict[str, Any]
"""Columns of a row by name."""

Texts = Mapping[str, Any]
"""Values of one level by keyword: text as decoded, or a list of documents for a sequence."""


ENDINGS: Final = frozenset((Flaw.UNREADABLE.name, Flaw.CUT_SHORT.name))
"""Flaws behind which nothing was read."""


class Reason(StrEnum):
    """Why a version of a SOP instance is in `instance_conflicts`."""

    KEPT = "another object with this SOP Instance UID was there before and was kept"
    REPLACED = "a later object with this SOP Instance UID replaced it"
    OTHER_PATIENT = "the object names another patient than its study has"
    OTHER_STUDY = "the object names another study than its series belongs to"


class FileMissing(Transient):
    """The file is not there; another machine's write may not be visible yet."""


class Unreadable(Permanent):
    """The file is not the object that was announced."""


class OtherObject(Unreadable):
    """The file holds another SOP instance than was announced."""


class HostileFile(Permanent):
    """Reading the file's header takes more memory or processor time than any header needs."""


class ReaderTooSlow(Transient):
    """The storage did not give the header in time."""


class Refused(Permanent):
    """PostgreSQL does not take a value; the error never quotes it."""


class MalformedMessage(Permanent):
    """The message is not what its routing key promises."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What one object says of each level."""

    patient: Texts
    study: Texts
    series: Texts
    image: Texts
    flaws: Sequence[str] = ()
    """Names of what the header was read past (`draw_shared.dicom.encoding.flaws.Flaw`)."""
    damage: str = ""
    """The same in words, with the elements concerned; nothing of their values."""

    @property
    def complete(self) -> bool:
        """Whether the data set could be read to the last wanted element."""
        return not ENDINGS.intersection(self.flaws)


@dataclass(frozen=True)
class AnnouncedObject:
    """One object as it was announced."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    path: str
    size_bytes: int
    content_sha256: str
    received_at: datetime
    event_id: str = ""
    association_id: str = ""
    calling_ae: str = ""
    peer_address: str = ""
    move_originator_ae: str = ""
    reread: bool = False
    """Whether the index has it, and is to hold what its header says now."""
    dated_ns: int = 0
    """Time of modification with which it was received; 0: as its file says."""

    @cached_property
    def source(self) -> str:
        """Name this object in `sources`; the order of names is that of reception."""
        return source_name(self.received_at, self.sop_instance_uid, self.content_sha256)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One announced object whose header was read."""

    stored: AnnouncedObject
    header: Header


@dataclass(frozen=True, slots=True)
class Departed:
    """Objects of a batch whose announced file may not be indexed."""

    deleted: Sequence[Arrival] = ()
    """Their file is older than the deletion of the object or its study."""
    missing: Sequence[Arrival] = ()
    """Their file is not there any more; whether anything needs it is found out without haste."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of an object that does not lie where it was announced."""

    needed: bool = True
    """False: it was deleted since, or the index has it under another path."""
    path: str = ""
    """Where it lies instead, known to whoever removes files."""
    returning: bool = False
    """Whether a removal that is not finished may bring it back."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Messages with announcements that the broker has."""

    waiting: int
    """For a consumer to take them."""
    later: int
    """For being tried again."""


@dataclass(frozen=True, slots=True)
class Known:
    """The version of a SOP instance that is current in the index."""

    sop_instance_uid: str
    content_sha256: str
    received_at: datetime
    path: str
    size_bytes: int
    calling_ae: str
    series_instance_uid: str
    study_instance_uid: str
    """The study it names; its series may lie in another."""
    person_known: bool = True
    """Whether the release that indexed it kept whom it names."""


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """A version of a SOP instance that is not current, or that contradicts its study."""

    sop_instance_uid: str
    study_instance_uid: str
    path: str
    size_bytes: int
    content_sha256: str
    reason: str
    calling_ae: str
    received_at: datetime

    @property
    def row(self) -> Row:
        """Columns of its row in `instance_conflicts`."""
        return {
            "sop_instance_uid": self.sop_instance_uid,
            "study_instance_uid": self.study_instance_uid,
            "path": self.path,
            "size_bytes": self.size_bytes,
            "content_sha256": f"\\x{self.content_sha256}",
            "reason": self.reason,
            "calling_ae": self.calling_ae,
            "received_at": self.received_at.isoformat(),
        }


@dataclass(slots=True)
class Verdict:
    """What the arrivals of one SOP Instance UID mean."""

    current: Arrival | None = None
    """The one to be written as the current version, if that changes."""
    fresh: bool = False
    """Whether the current version has other bytes than before, or is the first."""
    displaced: Known | None = None
    """The version that was current until now."""
    set_aside: list[VersionConflict] = field(default_factory=list)
    describing: list[Arrival] = field(default_factory=list)
    """Arrivals that say something of the series and study of the current version."""


@dataclass(frozen=True, slots=True, order=True)
class PatientKey:
    """What tells patients apart; a study without a PatientID has a patient of its own."""

    patient_id: str
    issuer: str
    unidentified_study_uid: str = ""

    @property
    def stated(self) -> str:
        """The key as `instances.stated_patient` has it."""
        return f"{self.patient_id}^^^{self.issuer}" if self.issuer else self.patient_id


def inside(path: str) -> str:
    """Return a stored path that lies below the storage root.

    Raises:
        MalformedMessage: it would leave the root.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise MalformedMessage("the path leaves the storage root")
    return path


@dataclass(slots=True)
class IndexChanges:
    """What a batch writes; rows of one table have the same columns."""

    arrived: Sequence[str]
    """Every SOP Instance UID of the batch."""
    latest: bool
    """Whether what was received last goes first."""
    came: list[str] = field(default_factory=list)
    """Those of `arrived` of a reception that is new to the index, for jobs that wait for them."""
    patients: dict[PatientKey, Row] = field(default_factory=dict)
    studies: dict[str, Row] = field(default_factory=dict)
    series: dict[str, Row] = field(default_factory=dict)
    instances: list[Row] = field(default_factory=list)
    patient_of: dict[str, PatientKey] = field(default_factory=dict)
    """The patient of each study that is written or counted."""
    study_of: dict[str, str] = field(default_factory=dict)
    """The study of each series that is written or counted."""
    ids: dict[tuple[Level, Any], int] = field(default_factory=dict)
    """Identities of rows that are there already."""
    reopened: set[str] = field(default_factory=set)
    """Series that have something new."""
    left_series: set[str] = field(default_factory=set)
    left_studies: set[str] = field(default_factory=set)
    left_patients: set[int] = field(default_factory=set)
    """What lost a part of itself, and goes when nothing is left."""
    moved_studies: set[str] = field(default_factory=set)
    moved_series: dict[str, str] = field(default_factory=dict)
    """Series that have another study now, with their former one."""
    displaced: set[tuple[str, str]] = field(default_factory=set)
    """Versions, by UID and hash, that were current until now."""
    settled: list[tuple[str, str]] = field(default_factory=list)
    """Versions, by UID and hash, that are current by now."""
    conflicts: list[VersionConflict] = field(default_factory=list)
    new_conflicts: list[VersionConflict] = field(default_factory=list)
    """Conflicts that were not known before, once they are written."""
    ambiguous: list[str] = field(default_factory=list)
    """Studies whose patient has turned out to be several people, once they are written."""
    received: list[Arrival] = field(default_factory=list)
    """Current versions that are new, for the change feed and the count of the day."""
    doubtful: list[AnnouncedObject] = field(default_factory=list)
    """Objects whose file may be one that no row needs: the bytes lie elsewhere too."""


@dataclass(frozen=True, slots=True)
class IndexedBatch:
    """What one batch meant for the index."""

    fresh: int = 0
    unchanged: int = 0
    conflicts: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    recorded: Sequence[VersionConflict] = ()
    """What was put into `instance_conflicts`, as another version or for what it says."""
    ambiguous: Sequence[str] = ()
    """Studies whose patient has turned out to be several people."""
    deleted: Sequence[AnnouncedObject] = ()
    """What was not indexed because it was deleted since its reception."""
    missing: Sequence[AnnouncedObject] = ()
    """What was not indexed because its file went, or another took its name, meanwhile."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A series or study of which nothing has arrived for the quiet period."""

    study_instance_uid: str
    series_instance_uid: str
    series: int
    instances: int


Headers = Sequence[Header | Exception]
"""One answer for each file asked for, in order."""


@dataclass(frozen=True, slots=True)
class StableSeries:
    """One change that says that a series is complete."""

    sequence: int
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class SeriesObject:
    """One object of a series."""

    sop_instance_uid: str
    path: str


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """One change on its way to one webhook."""

    id: int
    webhook_id: int
    url: str
    secrets: Sequence[str]
    """Each signs; the former one too for a while after it was replaced."""
    body: str
    attempts: int
    """How often it was sent, this time included."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What came of sending; without a status there was no answer."""

    status: int | None
    error: str = ""

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return (
            self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        )

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing more."""
        return self.status == HTTPStatus.GONE


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one delivery, and in how many seconds it is tried again; None: never."""

    delivery: ClaimedDelivery
    answer: WebhookAnswer
    again_in: float | None

    @property
    def dead(self) -> bool:
        """Whether it was given up."""
        return self.again_in is None and not self.answer.taken


@dataclass(frozen=True, slots=True)
class DisabledWebhook:
    """A webhook that is told nothing more until an administrator says so."""

    id: int
    reason: str
