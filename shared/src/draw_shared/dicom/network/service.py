"""What the association engine asks of the service that uses it.

The engine reads and writes PDUs and knows nothing of files, databases or configuration;
a `ServiceProvider` admits associations and answers each operation. One association is
served by one thread, so a provider's methods are called one after the other for one
association, and at the same time for different ones.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from draw_shared.dicom.network.associate import AssociateRequest, ContextResult, Roles
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.shares import Claimant
from draw_shared.errors import Permanent


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """One accepted presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a certificate says; texts are empty where it cannot be read."""

    fingerprint: str
    """SHA-256 of the whole certificate, as `fingerprints` writes it."""
    subject: str = ""
    """Distinguished name (RFC 4514)."""
    common_name: str = ""
    """The subject's first."""
    issuer: str = ""
    serial: str = ""
    """The number that the issuer gave it, hexadecimal."""
    names: tuple[str, ...] = ()
    """Hosts that it is for: DNS names and addresses (subjectAltName)."""
    not_before: datetime | None = None
    not_after: datetime | None = None

    def is_one_of(self, bound: Collection[str]) -> bool:
        """Return whether it has one of these fingerprints, common names or hosts."""
        names = {name.casefold() for name in (self.common_name, *self.names) if name}
        return any(one == self.fingerprint or one.casefold() in names for one in bound)

    @property
    def words(self) -> str:
        """Who it is for, and how it is told from others, for logs."""
        return f"{self.subject} (SHA-256 {self.fingerprint})"


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """Who is at the other end of an accepted association, and what was negotiated."""

    association_id: str
    calling_ae: str
    called_ae: str
    peer_address: str
    """Address of the client itself, also behind a proxy."""
    local_address: str
    opened_at: datetime
    contexts: Mapping[int, PresentationContext]
    peer_max_pdu: int
    peer_implementation: str
    roles: Mapping[str, Roles] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    tls: str = ""
    """Version of TLS that is spoken; empty: none is."""
    certificate: PeerCertificate | None = None
    """What the peer has proved to be its own, signed by one of our authorities."""
    rights: frozenset[Right] = frozenset(Right)
    """What it might ask for when it associated."""
    listed: bool = False
    """Whether it calls with an allowed AE title from where that is expected."""

    @property
    def claimant(self) -> Claimant:
        """As whom the peer asks for its share of what is scarce."""
        return Claimant(self.peer_address, self.calling_ae, self.listed)


class StoreRequest(NamedTuple):
    """C-STORE-RQ (PS3.7 9.3.1.1)."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    context: PresentationContext
    move_originator_ae: str = ""
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """C-FIND-RQ, C-GET-RQ or C-MOVE-RQ with its identifier, encoded in the context's syntax."""

    message_id: int
    sop_class_uid: str
    context: PresentationContext
    identifier: bytes
    move_destination: str = ""


@dataclass(frozen=True, slots=True)
class Matches:
    """A batch of encoded identifiers, all pending with one status."""

    identifiers: Sequence[bytes]
    status: int


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a C-GET or C-MOVE is (PS3.7 9.1.3.1.7)."""

    remaining: int
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class RetrieveEnd:
    """The final answer to a C-GET or C-MOVE."""

    status: int
    counts: SubOperations
    identifier: bytes = b""
    """Failed SOP Instance UID List, encoded; empty when none failed."""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class StoredDataSet:
    """A Part 10 file whose data set is sent as it lies."""

    path: str
    data_set_offset: int
    sop_class_uid: str
    sop_instance_uid: str


class DataSetStream(Protocol):
    """A data set that is made while it is sent."""

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield its parts, one after the other.

        Raises:
            Permanent | OSError: it cannot be had; if in the middle, it breaks off there.
        """


Sendable = StoredDataSet | bytes | memoryview | DataSetStream
"""An object to send: a file as it lies, an encoded data set in memory, or one being made."""


class CutShort(Permanent):
    """A data set broke off in the middle of its message: only an abort keeps it from the peer."""

    def __init__(self, sop_instance_uid: str, reason: str) -> None:
        super().__init__(reason)
        self.sop_instance_uid = sop_instance_uid


class SameAssociation(Protocol):
    """Sends C-STORE sub-operations back over the association that asked with C-GET."""

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """Return the context in which the peer takes this class in this syntax, or None."""

    def store(
        self,
        data: Sendable,
        context_id: int,
        sop: tuple[str, str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Send one object and return the peer's status.

        `sop` is (SOP Class UID, SOP Instance UID). `meanwhile` is called once the object is
        on its way, before the answer is waited for.
        """


class OperationRefused(Permanent):
    """The operation is answered with this status."""

    def __init__(self, status: int, comment: str = "") -> None:
        super().__init__(comment or f"0x{status:04X}")
        self.status = status
        self.comment = comment


class ObjectSink(Protocol):
    """Takes the data set of one C-STORE as it arrives."""

    def write(self, chunk: memoryview) -> None:
        """Take a fragment; it must be used at once, the memory is written over afterwards.

        Raises:
            Refused: the rest of the data set is read and dropped, and this status answered.
        """

    def commit(self) -> int:
        """Make the object durable and return the status to answer.

        Raises:
            Refused: nothing is left behind; this status is answered.
        """

    def abandon(self) -> None:
        """Forget everything: the association ended in the middle."""


class AssociationOutcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    ABORTED_BY_PEER = "aborted by peer"
    ABORTED = "aborted"
    LOST = "connection lost"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection, known before anything was negotiated."""

    association_id: str
    address: str
    local_address: str
    tls: str = ""
    """Version of TLS that is spoken; empty: none is."""
    certificate: PeerCertificate | None = None
    """What the peer has proved to be its own, signed by one of our authorities."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A-ASSOCIATE-RJ: result, source and reason of PS3.8 9.3.4, and words for the log."""

    result: int
    source: int
    reason: int
    words: str


@dataclass(frozen=True, slots=True)
class Accept:
    """What is accepted of a request."""

    results: tuple[ContextResult, ...]
    roles: Mapping[str, Roles]
    extended: Mapping[str, bytes]
    rights: frozenset[Right] = frozenset(Right)
    denied: tuple[Right, ...] = ()
    """Rights for want of which presentation contexts were refused."""
    listed: bool = False
    """Whether the peer calls with an allowed AE title from where that is expected."""


class Admission(Protocol):
    """Says who may associate, and is told what becomes of it."""

    def admit(self, peer: Peer, request: AssociateRequest, /) -> Accept | Reject:
        """Decide whether this peer may associate, and for what."""

    def opened(self, info: AssociationInfo, /) -> None:
        """An association was accepted."""

    def closed(self, info: AssociationInfo, outcome: AssociationOutcome, reason: str, /) -> None:
        """An association has ended."""

    def rejected(self, peer: Peer, request: AssociateRequest | None, reject: Reject, /) -> None:
        """A connection was turned away; without a request when it never got that far."""


class Operations(Protocol):
    """Answers the operations of accepted associations."""

    def echo(self, info: AssociationInfo, /) -> int:
        """Return the status of a C-ECHO."""

    def store(self, info: AssociationInfo, request: StoreRequest, /) -> ObjectSink:
        """Return who takes the data set.

        Raises:
            Refused: the data set is read and dropped, and this status answered.
        """

    def find(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool], /
    ) -> Iterator[Matches]:
        """Yield matches; the end is success, Refused any other final status."""

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
        /,
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and at last the end."""

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool], /
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and at last the end."""


class ServiceProvider(Admission, Operations, Protocol):
    """Everything that listening for associations needs."""
