"""The indexer's values: objects, versions and rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from draw_shared.contracts.instance import CompletionReason
from draw_shared.db.sources import source_name
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.query.keys import Level
from draw_shared.errors import Permanent, Transient
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import Occasion
from draw_shared.wording import message

Row = dict[str, Any]
"""Columns of a row by name."""

Texts = Mapping[str, Any]
"""Values of one level by keyword: decoded text, or a list of documents for a sequence."""


ENDINGS: Final = frozenset((Flaw.UNREADABLE.name, Flaw.CUT_SHORT.name))
"""Flaws after which nothing more was read."""


class Reason(StrEnum):
    """Why a version of a SOP instance is in `instance_conflicts`."""

    KEPT = message("another object with this SOP Instance UID was there before and was kept")
    REPLACED = message("a later object with this SOP Instance UID replaced it")
    OTHER_PATIENT = message("the object names another patient than its study has")
    OTHER_STUDY = message("the object names another study than its series belongs to")


class FileMissing(Transient):
    """The file is not there; another machine's write may not be visible yet."""


class Unreadable(Permanent):
    """The file is not the object that was announced."""


class OtherObject(Unreadable):
    """The file holds another SOP instance than was announced."""


class HostileFile(Permanent):
    """Reading the file's header takes more memory or processor time than any header needs."""


class ReaderTooSlow(Transient):
    """The storage did not deliver the header in time."""


class Refused(Permanent):
    """PostgreSQL rejects a value; the error never quotes it."""


class MalformedMessage(Permanent):
    """The message does not have the form that its routing key promises."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """The values of one object at each level."""

    patient: Texts
    study: Texts
    series: Texts
    image: Texts
    flaws: Sequence[str] = ()
    """The flaws in the header (`draw_shared.dicom.encoding.flaws.Flaw`)."""
    damage: str = ""
    """The same in words, with the elements concerned but without their values."""

    @property
    def complete(self) -> bool:
        """Whether the data set was read to the last wanted element."""
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
    association_ordinal: int | None = None
    """Place among the objects that its association stored, from 1; None: not counted."""
    calling_ae: str = ""
    peer_address: str = ""
    move_originator_ae: str = ""
    reread: bool = False
    """Whether the index has the object and must replace its values by the header's."""
    dated_ns: int = 0
    """The file's time of modification at reception; 0 means the file's present one."""

    @cached_property
    def source(self) -> str:
        """The object's name in `sources`; the names sort by reception."""
        return source_name(self.received_at, self.sop_instance_uid, self.content_sha256)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One announced object with its header."""

    stored: AnnouncedObject
    header: Header


@dataclass(frozen=True, slots=True)
class DepartedObjects:
    """Objects of a batch whose announced file must not be indexed."""

    deleted: Sequence[Arrival] = ()
    """Their file is older than the deletion of the object or its study."""
    missing: Sequence[Arrival] = ()
    """Their file is gone; whether a row needs it is found out later."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of an object whose file is not at the announced path."""

    needed: bool = True
    """False if the object was deleted, or if the index has it under another path."""
    path: str = ""
    """The file's present path, according to the records of removals."""
    returning: bool = False
    """Whether an unfinished removal may restore it."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The messages with announcements that the broker holds."""

    waiting: int
    """Waiting for a consumer."""
    later: int
    """Waiting for a retry."""


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """The version of a SOP instance that is current in the index."""

    sop_instance_uid: str
    content_sha256: str
    received_at: datetime
    path: str
    size_bytes: int
    calling_ae: str
    series_instance_uid: str
    study_instance_uid: str
    """The study that it names; its series may be in another one."""
    person_known: bool = True
    """Whether the release that indexed it stored the patient that it names."""


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
    """What the arrivals of one SOP Instance UID change."""

    current: Arrival | None = None
    """The one to write as the current version, if it changes."""
    fresh: bool = False
    """Whether the current version has other bytes than before, or is the first."""
    displaced: CurrentVersion | None = None
    """The version that was current until now."""
    set_aside: list[VersionConflict] = field(default_factory=list)
    describing: list[Arrival] = field(default_factory=list)
    """Arrivals that describe the series and study of the current version."""


@dataclass(frozen=True, slots=True, order=True)
class PatientKey:
    """Identifies a patient; a study without a PatientID has a patient of its own."""

    patient_id: str
    issuer: str
    unidentified_study_uid: str = ""

    @property
    def stated(self) -> str:
        """The key in the form of `instances.stated_patient`."""
        return f"{self.patient_id}^^^{self.issuer}" if self.issuer else self.patient_id


def inside(path: str) -> str:
    """Return a stored path if it is below the storage root.

    Raises:
        MalformedMessage: it would leave the root.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise MalformedMessage(message("the path leaves the storage root"))
    return path


@dataclass(slots=True)
class IndexChanges:
    """What a batch writes; rows of one table have the same columns."""

    arrived: Sequence[str]
    """Every SOP Instance UID of the batch."""
    latest: bool
    """Whether the last received version takes precedence."""
    brought: Sequence[AnnouncedObject] = ()
    """The objects of the batch that need no further try, for the accounts of associations."""
    came: list[str] = field(default_factory=list)
    """Those of `arrived` whose reception is new to the index, for jobs that wait for them."""
    patients: dict[PatientKey, Row] = field(default_factory=dict)
    studies: dict[str, Row] = field(default_factory=dict)
    series: dict[str, Row] = field(default_factory=dict)
    instances: list[Row] = field(default_factory=list)
    patient_of: dict[str, PatientKey] = field(default_factory=dict)
    """The patient of each study that is written or counted."""
    study_of: dict[str, str] = field(default_factory=dict)
    """The study of each series that is written or counted."""
    ids: dict[tuple[Level, Any], int] = field(default_factory=dict)
    """Identities of existing rows."""
    reopened: set[str] = field(default_factory=set)
    """Series that received something new."""
    left_series: set[str] = field(default_factory=set)
    left_studies: set[str] = field(default_factory=set)
    left_patients: set[int] = field(default_factory=set)
    """Rows that lost a part; empty ones are deleted."""
    moved_studies: set[str] = field(default_factory=set)
    moved_series: dict[str, str] = field(default_factory=dict)
    """Series that moved to another study, with their former one."""
    displaced: set[tuple[str, str]] = field(default_factory=set)
    """Versions, by UID and hash, that were current until now."""
    settled: list[tuple[str, str]] = field(default_factory=list)
    """Versions, by UID and hash, that are current now."""
    conflicts: list[VersionConflict] = field(default_factory=list)
    new_conflicts: list[VersionConflict] = field(default_factory=list)
    """Conflicts that were not known before; filled by the write."""
    ambiguous: list[str] = field(default_factory=list)
    """Studies whose patient turned out to be several people; filled by the write."""
    received: list[Arrival] = field(default_factory=list)
    """New current versions, for the change feed and the count of the day."""
    doubtful: list[AnnouncedObject] = field(default_factory=list)
    """Objects whose file perhaps no row needs, because the same bytes are stored elsewhere."""


@dataclass(frozen=True, slots=True)
class IndexedBatch:
    """What one batch changed in the index."""

    fresh: int = 0
    unchanged: int = 0
    conflicts: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    recorded: Sequence[VersionConflict] = ()
    """Versions put into `instance_conflicts`, as not current or as contradictory."""
    ambiguous: Sequence[str] = ()
    """Studies whose patient turned out to be several people."""
    deleted: Sequence[AnnouncedObject] = ()
    """Objects not indexed because they were deleted after their reception."""
    missing: Sequence[AnnouncedObject] = ()
    """Objects not indexed because their file is gone or another file took its name."""


@dataclass(frozen=True, slots=True)
class SettledSeries:
    """An open series that may be complete before its quiet period is over.

    Every association that brought it, as far as the index knows, has ended and what they stored is
    indexed. Its settle time has passed, or a retrieve job has proved it.
    """

    id: int
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class QuietEntity:
    """An open series of which nothing was indexed for the quiet period; a study without series."""

    id: int
    study_instance_uid: str
    series_instance_uid: str = ""

    @property
    def uid(self) -> str:
        """What it is called."""
        return self.series_instance_uid or self.study_instance_uid


@dataclass(frozen=True, slots=True)
class ClosedEntity:
    """A series or study that is complete now."""

    study_instance_uid: str
    series_instance_uid: str
    series: int
    instances: int
    new_instances: int
    reason: CompletionReason


Headers = Sequence[Header | Exception]
"""One answer for each requested file, in order."""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """One change to be delivered to one webhook."""

    id: int
    webhook_id: int
    url: str
    secrets: Sequence[str]
    """Each signs; the former one also signs for a while after its replacement."""
    body: str
    attempts: int
    """How often it was sent, including this time."""
    routed: bool = False
    """Whether rules of routing send it: it is tried until they give it up."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """The result of sending; without a status there was no answer."""

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
    """The result of one delivery, and the seconds until its next try; None means never."""

    delivery: ClaimedDelivery
    answer: WebhookAnswer
    again_in: float | None

    @property
    def dead(self) -> bool:
        """Whether the delivery was given up."""
        return self.again_in is None and not self.answer.taken


@dataclass(frozen=True, slots=True)
class DisabledWebhook:
    """A webhook that gets no more deliveries until an administrator enables it."""

    id: int
    reason: str


@dataclass(frozen=True, slots=True)
class FeedChange:
    """One entry of the change feed that has the rules looked at."""

    sequence: int
    trigger: Trigger
    uid: str
    """Of what is complete or has come."""
    occasion: Occasion


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The next changes that have rules looked at."""

    changes: Sequence[FeedChange]
    until: int
    """Up to here none is left out."""
    whole: bool
    """Whether there are no more."""


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What a decision sends to one destination."""

    destination: str
    give_up_seconds: int
    instances: int
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleDecision:
    """What the rules said about one series, study or object."""

    routing_version: int
    trigger: Trigger
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    applied: Sequence[str]
    undecided: Sequence[str]
    deliveries: Sequence[PlannedDelivery]
    sequence: int | None = None
    """The change that had them looked at."""
    batch_id: UUID | None = None
    """The batch that did."""
    postponed: bool = False
    """Whether a file that cannot be read now may change it: it is looked at again."""


@dataclass(frozen=True, slots=True)
class PostponedDecision:
    """A decision that is looked at again because a file could not be read."""

    id: int
    routing_version: int
    trigger: Trigger
    uid: str
    """Of what it is about."""
    applied: Sequence[str]
    destinations: Sequence[str]
    """Those that have deliveries already."""
    rules: Sequence[str] | None
    """Names that its batch applies, empty: all that are active; None: it is of no batch."""
    occasion: Occasion | None
    """None: its change is forgotten, or it is of a batch."""
    late: bool
    """Whether it is looked at for the last time: what cannot be read now counts as unreadable."""


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """Rules that are applied to series of the archive."""

    id: UUID
    routing_version: int
    rules: Sequence[str]
    """Names; empty: all that are active."""
    criteria: Mapping[str, Any]
