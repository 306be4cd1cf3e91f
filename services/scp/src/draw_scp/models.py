"""Values of the receiver."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One object as the index knows it; `path` is relative to the storage root."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str


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
class Order:
    """In whose name sub-operations are performed (PS3.7 9.1.1.1), and on how many associations."""

    originator_ae: str
    message_id: int
    parallel: int
