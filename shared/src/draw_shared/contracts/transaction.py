"""The audit trail as messages: the action, the actor and the result."""

from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from draw_shared.contracts.envelope import Event

LINES_LOST: Final = "transactions.lost"
"""Action of a line in place of lines that could not be written; `objects` is their number."""

RETRIEVE_BEGUN: Final = "retrieve.begin"
"""Action of a line that names the study of a C-GET or C-MOVE before its first object is sent.
Another line reports the end of the operation."""


DROPPED: Final = "transactions.drop"
"""Action of a line that names the lines missing because their month was dropped."""
SEALING_BEGUN: Final = "transactions.sealing_begun"
CUT: Final = "transactions.cut"
"""Sealed lines were missing: a backup was restored, or the log was rewritten."""
NOT_SEALED: Final = "transactions.not_sealed"
"""Lines of the chain had no seal when later lines were chained."""
NOT_ATTESTED: Final = "transactions.not_attested"
"""Lines without a valid attestation were chained."""
ACCEPTED: Final = "transactions.accepted"
"""An operator has accepted all findings so far."""
FINDINGS: Final = (CUT, NOT_SEALED, NOT_ATTESTED)
"""Findings that an operator has to inspect."""


class TransactionKind(StrEnum):
    """What kind of thing happened."""

    ASSOCIATION = "association"
    REJECTION = "rejection"
    C_ECHO = "c-echo"
    C_STORE = "c-store"
    C_FIND = "c-find"
    C_MOVE = "c-move"
    C_GET = "c-get"
    MANAGEMENT = "management"


class TransactionOutcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class TransactionRecord(BaseModel):
    """One line of the transaction log; identifiers only, no patient data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    record_id: UUID
    occurred_at: AwareDatetime
    kind: TransactionKind
    outcome: TransactionOutcome
    replica: str
    association_id: str | None = None
    calling_ae: str | None = None
    called_ae: str | None = None
    peer_address: str | None = None
    status: int | None = Field(default=None, description="DIMSE status, or reject reason")
    duration_seconds: float | None = None
    size_bytes: int | None = None
    objects: int | None = None
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    actor: str | None = Field(default=None, description="user or token of a management action")
    action: str | None = Field(
        default=None, description="name of a management action; `retrieve.begin` before a retrieve"
    )
    detail: str | None = None


class TransactionsRecordedV1(Event):
    """A replica hands over a batch of its transaction log."""

    routing_key: ClassVar[str] = "transactions.recorded.v1"

    replica: str
    records: tuple[TransactionRecord, ...]
