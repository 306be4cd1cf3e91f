"""Values of the receiver."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeVarTuple
from uuid import UUID

from draw_shared.contracts.rights import Right
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.dicom.placement import Ending, Timing
from draw_shared.dicom.service import AssociationInfo, StoreRequest
from draw_shared.errors import Transient
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import Stored
from draw_shared.storage.reception import FilingRules

Arguments = TypeVarTuple("Arguments")


class Later(Protocol):
    """Takes what is to be done when the peer has its answer."""

    def __call__(self, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Have `action` done soon with these arguments."""


class Demand(Protocol):
    """Asks whether a peer still has the right to what it asks for."""

    def __call__(self, info: AssociationInfo, right: Right, destination: str = "") -> None:
        """Return when it has.

        Raises:
            Refused: it has not, or nothing may be sent to this move destination for it.
        """


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
class Order:
    """In whose name sub-operations are performed (PS3.7 9.1.1.1), and on how many associations."""

    originator_ae: str
    message_id: int
    parallel: int


class Transaction(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What of the configuration in force concerns what is done after the answer."""

    layout: Layout
    log_received: bool
    """Whether each object that was received is a line in the log."""
    log_level: str


WITH_OBJECTS: Final = b"\1"
WITHOUT_OBJECTS: Final = b"\0"
"""First byte of what the receiver hands over, before the pickle: whether a burst goes on."""


class Batch(NamedTuple):
    """Lines of the audit trail that are handed over together, again if it is not known to end."""

    id: UUID
    transactions: list[Transaction]


class Arrivals(NamedTuple):
    """What the receiver hands to the announcer at a time."""

    circumstances: Circumstances
    stored: list[Stored]
    batches: list[Batch]
    lost: Lost | None
    """Lines that the receiver could not keep until now."""
    overlooked: bool
    """Whether there are entries in the spool folder that were never handed over."""
    finish_seconds: float | None
    """That there will be no more, and how long the announcer may take for what it has."""


class Announced(NamedTuple):
    """What the announcer tells the receiver, several times a second."""

    connected: bool
    """Whether it reaches the broker."""
    objects: int = 0
    """Confirmed by the broker since it last told."""
    recorded: UUID | None = None
    """The last batch of the audit trail that it answers for."""
    lines_lost: int = 0
    """Of the audit trail, since it last told."""
    reserve_bytes: int = 0
    """Room on the disk that it keeps for the audit trail."""


class Echoed(NamedTuple):
    """A C-ECHO was answered."""


class Taken(NamedTuple):
    """A C-STORE was answered with success."""

    request: StoreRequest
    stored: Stored
    seconds: float
    """From the request to the object being durable."""
    commit_seconds: float
    """From its last byte to the object being durable."""


class TurnedDown(NamedTuple):
    """A C-STORE was answered with a failure."""

    request: StoreRequest
    status: int
    reason: str
    """A fixed text."""
    seconds: float


Result = Echoed | Taken | TurnedDown
"""What became of one operation of a sender."""


class Results(Protocol):
    """Takes note of what became of senders' operations."""

    def note(self, info: AssociationInfo, result: Result) -> None:
        """Take note of one, in the order in which they happened."""


class Conditions(NamedTuple):
    """What the receiver tells its receiving processes, whenever it changes."""

    rules: FilingRules
    c_store: bool
    """Whether C-STORE is switched on."""
    log_level: str
    used_bytes: int
    """What the storage holds, as far as the receiver knows."""


class HandedOver(NamedTuple):
    """An accepted association for a receiving process; the connection's descriptor follows."""

    info: AssociationInfo
    timing: Timing


class Begun(NamedTuple):
    """First word of a receiving process: it takes associations."""

    writer: str
    """Part of the names of all files that it makes in the spool folder."""


class Durable(NamedTuple):
    """A receiving process has made an object durable: it is to be announced."""

    stored: Stored


class Noted(NamedTuple):
    """What became of an operation in a receiving process."""

    association_id: str
    result: Result


class Ended(NamedTuple):
    """An association that was handed over has ended."""

    association_id: str
    ending: Ending


Report = Begun | Durable | Noted | Ended
"""What a receiving process tells the receiver, in the order in which it happened."""
