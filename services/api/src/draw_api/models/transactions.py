"""Lines of the transaction log."""

from dataclasses import dataclass
from datetime import datetime
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
