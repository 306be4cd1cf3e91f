"""Lines of the transaction log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import Field, StrictInt, computed_field

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.identifiers import Sha256
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome


@dataclass(frozen=True, slots=True)
class TransactionCriteria:
    """Selects lines; an empty value matches all."""

    kinds: tuple[TransactionKind, ...] = ()
    outcomes: tuple[TransactionOutcome, ...] = ()
    ae_title: str = ""
    """Calling or called AE title."""
    peer_address: str = ""
    uid: str = ""
    """Study or SOP Instance UID, or the identifier of an association."""
    status: int | None = None
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None
    actors: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    """Study Instance UIDs."""


class AssociationTrouble(StrEnum):
    """What has to have gone wrong in an association."""

    ANY = "any"
    REFUSED = "refused"
    """An image was not stored."""


class AssociationActivity(StrEnum):
    """What a peer did in an association."""

    STORED = "stored"
    QUERIED = "queried"
    RETRIEVED = "retrieved"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class AssociationCriteria:
    """Selects associations; an empty value matches all."""

    trouble: AssociationTrouble | None = None
    activity: AssociationActivity | None = None
    peer: str = ""
    """AE title or address."""
    since: datetime | None = None
    until: datetime | None = None


class AuditGroup(StrEnum):
    """What somebody did."""

    DELETED = "deleted"
    VIEWED = "viewed"
    DOWNLOADED = "downloaded"
    CONFIGURATION = "configuration"
    USERS = "users"
    JOBS = "jobs"


AUDIT_ACTIONS: Final[Mapping[AuditGroup, tuple[str, ...]]] = {
    AuditGroup.DELETED: ("study.delete", "storage.reconcile"),
    AuditGroup.VIEWED: (
        "series.view", "instance.view", "routing.explain", "routing.replay",
        "routing.batch_preview",
    ),
    AuditGroup.DOWNLOADED: (
        "study.download", "instance.download", "transactions.export", "audit.export",
    ),
    AuditGroup.CONFIGURATION: (
        "config.update", "routing.update", "routing.batch", "routing.batch_cancel",
        "ae_title.create", "ae_title.update",
        "ae_title.delete", "peer.allow",
        "node.create", "node.update", "node.delete", "node.pause", "node.resume", "node.pin",
        "node.forget_find_limit", "webhook.create", "webhook.update", "webhook.delete",
        "webhook.replay", "dead-letter.replay", "dead-letter.discard",
        "service.start", "service.stop", "service.restart",
    ),
    AuditGroup.USERS: (
        "session.create", "session.end", "user.create", "user.update", "user.delete",
        "user.password_change", "user.password_reset", "token.create", "token.revoke",
    ),
    AuditGroup.JOBS: (
        "job.create", "job.retry", "job.cancel", "query.create", "query.cancel", "query.delete",
        "batch-query.create", "retrieve.create", "retrieve.retry", "retrieve.cancel",
        "retrieve.prioritise", "study.hold", "study.release", "delivery.retry", "delivery.give-up",
        "destination.pause", "destination.drain", "destination.resume",
    ),
}  # fmt: skip
"""The actions of each group."""


@dataclass(frozen=True, slots=True)
class AuditCriteria:
    """Selects management actions; an empty value matches all."""

    user: str = ""
    """A user, with all tokens of the user."""
    group: AuditGroup | None = None
    patient_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Transaction(Answer):
    """One line of the transaction log: an association, an operation, a management action."""

    id: int = Field(examples=[4711])
    occurred_at: datetime
    record_id: UUID
    kind: TransactionKind = Field(examples=["c-store"])
    outcome: TransactionOutcome = Field(examples=["success"])
    replica: str = Field(examples=["pacs1-scp"])
    association_id: str | None
    calling_ae: str | None = Field(examples=["CT_ROOM_2"])
    called_ae: str | None
    peer_address: str | None
    status: int | None = Field(description="DIMSE status, or reason of a rejection", examples=[0])
    duration_seconds: float | None
    size_bytes: int | None
    objects: int | None
    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    actor: str | None = Field(description="who did it: a user, with the token if there was one")
    action: str | None = Field(examples=["config.update"])
    detail: str | None

    @computed_field(description="bytes per second; null where nothing was moved")  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def rate_bytes_per_second(self) -> float | None:
        """Bytes per second."""
        if not self.size_bytes or not self.duration_seconds:
            return None
        return round(self.size_bytes / self.duration_seconds, 1)


class LoggedStudy(Answer):
    """The study that a line of the log is about."""

    study_instance_uid: str
    deleted: bool = Field(description="the archive has it no more")
    patient_id: str = Field(examples=["KN100234"])
    patient_name: str = Field(description="empty after the deletion")
    study_date: date | None
    description: str
    modalities: list[str]


class OperationCount(Answer):
    """Operations of one kind in an association."""

    kind: TransactionKind = Field(examples=["c-store"])
    number: int
    unsuccessful: int
    status: int | None = Field(description="status of one that was not successful")
    objects: int = Field(description="images that left by C-GET or C-MOVE, or matches of C-FIND")


class AssociationSummary(Answer):
    """One association and what was done in it."""

    association_id: str
    line_id: int | None = Field(description="line of its end; null before there is one")
    last_at: datetime = Field(description="its end, or its last operation")
    open: bool = Field(description="there is no end yet, and the last operation was just now")
    calling_ae: str | None = Field(examples=["CT_ROOM_2"])
    called_ae: str | None
    peer_address: str | None
    description: str = Field(description="of the calling AE title, from the list")
    outcome: TransactionOutcome | None
    detail: str | None
    duration_seconds: float | None
    size_bytes: int
    objects: int = Field(description="images that were stored")
    operations: list[OperationCount] = Field(
        description="of the first 400 operations; more are not counted"
    )
    more_operations: bool
    number_of_studies: int = Field(description="studies that those operations name")
    study: LoggedStudy | None = Field(description="one of them, if the archive has it")

    @computed_field(description="bytes per second; null where nothing was stored")  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def rate_bytes_per_second(self) -> float | None:
        """Bytes per second."""
        if not self.size_bytes or not self.duration_seconds:
            return None
        return round(self.size_bytes / self.duration_seconds, 1)

    @property
    def unsuccessful(self) -> int:
        """Operations that were not successful."""
        return sum(one.unsuccessful for one in self.operations)


class AuditLine(Answer):
    """One management action: who did what to whom."""

    id: int = Field(examples=[4711])
    occurred_at: datetime
    record_id: UUID
    actor: str | None = Field(examples=["admin"])
    action: str | None = Field(examples=["study.delete"])
    outcome: TransactionOutcome
    peer_address: str | None
    detail: str | None
    study_instance_uid: str | None
    sop_instance_uid: str | None
    study: LoggedStudy | None = Field(
        description="null when there is none, and when it was deleted and the caller may not read"
        " whose it was"
    )


class KnownHead(Request):
    """A head of the chain that was stored elsewhere."""

    position: StrictInt = Field(ge=1, le=2**63 - 1, examples=[120000])
    chain_hash: Sha256


class ChainBreak(Answer):
    """A place where the log differs from what was chained."""

    position: int = Field(examples=[4711])
    reason: str = Field(examples=["the line or its predecessor was changed"])


class LogFinding(Answer):
    """A difference from the sealed log, as the log itself reported it."""

    position: int
    occurred_at: datetime
    action: str = Field(examples=["transactions.cut"])
    detail: str
    accepted: bool = Field(description="somebody has examined it since, and recorded it in the log")


class ChainReport(Answer):
    """Whether the transaction log is unchanged."""

    intact: bool = Field(description="no breaks, and no findings that nobody has accepted")
    sealed: bool = Field(
        description="seals were checked too; without a key, anybody who can write the database can"
        " forge an intact log"
    )
    as_found: int = Field(
        description="the position up to which lines were there before sealing began; 0: none"
    )
    lines: int = Field(description="lines whose hash was computed again", examples=[120000])
    first_position: int = Field(description="1, unless older months were removed")
    head: KnownHead | None = Field(description="the last line; keep it to compare later")
    breaks: list[ChainBreak] = Field(description="the first hundred")
    findings: list[LogFinding] = Field(description="what was not as it was sealed")
    waiting: int = Field(description="lines that are not in the chain yet")
    lines_lost: int = Field(
        description="lines that a full disk did not take; the lines with the action"
        " `transactions.lost` say of which time"
    )
