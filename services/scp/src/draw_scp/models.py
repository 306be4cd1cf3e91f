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
    """How we call ourselves there; empty is our own AE title."""
    timeout_seconds: float
    tls: bool
    tls_fingerprint: str
    """Of the certificate that is pinned; empty: one that an authority has signed for the host."""
    max_associations: int


class SubOperation(StrEnum):
    """How a C-STORE sub-operation ended (PS3.7 9.1.3.1.7)."""

    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one object that was to be sent."""

    sop_instance_uid: str
    status: int | None
    """The peer's answer; None if it was not sent or not answered."""
    reason: str = ""
    """Why the association could not be had, or broke."""


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """In whose name sub-operations are performed (PS3.7 9.1.1.1), and on how many associations."""

    originator_ae: str
    message_id: int
    parallel: int


class TransactionLine(NamedTuple):
    """One line of the audit trail, in plain values that are quickly handed to another process."""

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
    """The disk takes no line of the audit trail: what it would tell of must not happen."""


class Lost(NamedTuple):
    """Lines of the audit trail that could not be kept."""

    lines: int
    first: float
    last: float
    """When the earliest and the latest of them would have been (Unix time, seconds)."""

    def joined(self, other: "Lost | None") -> "Lost":
        """Return both as one."""
        if other is None:
            return self
        return Lost(
            self.lines + other.lines, min(self.first, other.first), max(self.last, other.last)
        )
