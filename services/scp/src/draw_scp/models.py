"""Values of the receiver."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.errors import Transient


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One object as the index knows it; `path` is relative to the storage root."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """A remote node that C-MOVE may send to."""

    ae_title: str
    host: str
    port: int
    calling_ae: str
    """Our AE title there; empty means the configured one."""
    timeout_seconds: float
    tls: bool
    tls_fingerprint: str
    """Of the pinned certificate; empty means one that an authority has signed for the host."""
    max_associations: int


class SubOperation(StrEnum):
    """How a C-STORE sub-operation ended (PS3.7 9.1.3.1.7)."""

    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivered:
    """Outcome of one object that was to be sent."""

    sop_instance_uid: str
    status: int | None
    """The peer's answer; None if the object was not sent or not answered."""
    reason: str = ""
    """Why there was no association, or why it broke."""


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """On whose behalf sub-operations run (PS3.7 9.1.1.1), and on how many associations."""

    originator_ae: str
    message_id: int
    parallel: int


class TransactionLine(NamedTuple):
    """One line of the audit trail, in plain values that are cheap to send to another process."""

    occurred_at: float
    """Unix time, seconds."""
    kind: TransactionKind
    outcome: TransactionOutcome
    association_id: str
    calling_ae: str | None = None
    called_ae: str | None = None
    peer_address: str | None = None
    status: int | None = None
    duration_seconds: float | None = None
    size_bytes: int | None = None
    objects: int | None = None
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    detail: str | None = None
    action: str | None = None


class NotOnRecord(Transient):
    """The disk has no space for a line of the audit trail, so the event must not happen."""


class LostLines(NamedTuple):
    """Lines of the audit trail that were lost."""

    lines: int
    first: float
    last: float
    """Times of the earliest and the latest of them (Unix time, seconds)."""

    def merge(self, other: "LostLines | None") -> "LostLines":
        """Return the losses of both as one."""
        if other is None:
            return self
        return LostLines(
            self.lines + other.lines, min(self.first, other.first), max(self.last, other.last)
        )
