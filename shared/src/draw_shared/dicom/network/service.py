"""The interface between the association engine and the service that uses it.

The engine reads and writes PDUs and knows nothing of files, databases or configuration. A
`ServiceProvider` admits associations and answers each operation. One thread serves one
association, so a provider's methods are called in sequence for the same association, and in
parallel for different ones.
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
    """The content of a certificate; texts are empty if they cannot be read."""

    fingerprint: str
    """SHA-256 of the whole certificate, in the notation of `fingerprints`."""
    subject: str = ""
    """Distinguished name (RFC 4514)."""
    common_name: str = ""
    """The subject's first common name."""
    issuer: str = ""
    serial: str = ""
    """The issuer's number for it, hexadecimal."""
    names: tuple[str, ...] = ()
    """Hosts that it is valid for: DNS names and addresses (subjectAltName)."""
    not_before: datetime | None = None
    not_after: datetime | None = None

    def is_one_of(self, bound: Collection[str]) -> bool:
        """Return whether one of its fingerprint, common name and hosts is in `bound`."""
        names = {name.casefold() for name in (self.common_name, *self.names) if name}
        return any(one == self.fingerprint or one.casefold() in names for one in bound)

    @property
    def words(self) -> str:
        """Its subject and what identifies it, for logs."""
        return f"{self.subject} (SHA-256 {self.fingerprint})"


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """The peer of an accepted association, and what was negotiated."""

    association_id: str
    calling_ae: str
    called_ae: str
    peer_address: str
    """Address of the client itself, even behind a proxy."""
    local_address: str
    opened_at: datetime
    contexts: Mapping[int, PresentationContext]
    peer_max_pdu: int
    peer_implementation: str
    roles: Mapping[str, Roles] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    tls: str = ""
    """TLS version; empty: without TLS."""
    certificate: PeerCertificate | None = None
    """The certificate that the peer has proved to own, signed by one of our authorities."""
    rights: frozenset[Right] = frozenset(Right)
    """Its rights when it associated."""
    listed: bool = False
    """Whether it calls with a listed AE title from the expected address."""
    user: str = ""
    """Who has signed in, if the objects come over HTTP."""

    @property
    def claimant(self) -> Claimant:
        """The peer as a claimant for its share of scarce resources."""
        return Claimant(self.peer_address, self.calling_ae, self.listed)


class StoreRequest(NamedTuple):
    """C-STORE-RQ (PS3.7 9.3.1.1)."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    context: PresentationContext
    move_originator_ae: str = ""
    move_originator_message_id: int | None = None
    ordinal: int | None = None
    """Place of the object among those stored by its association, from 1; None: not counted.

    A refused object leaves its place to the next one, so the association has stored as many
    objects as the last place says.
    """


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
    """A batch of encoded identifiers, all pending with the same status."""

    identifiers: Sequence[bytes]
    status: int


@dataclass(frozen=True, slots=True)
class SubOperations:
    """Progress of a C-GET or C-MOVE (PS3.7 9.1.3.1.7)."""

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
    """Failed SOP Instance UID List, encoded; empty if none failed."""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class StoredDataSet:
    """A Part 10 file whose data set is sent as it is stored."""

    path: str
    data_set_offset: int
    sop_class_uid: str
    sop_instance_uid: str


class DataSetStream(Protocol):
    """A data set that is produced while it is sent."""

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield its parts in order.

        Raises:
            Permanent | OSError: it cannot be had, or breaks off after the parts yielded.
        """


Sendable = StoredDataSet | bytes | memoryview | DataSetStream
"""An object to send: a stored file, an encoded data set in memory, or one being produced."""


class CutShort(Permanent):
    """A data set broke off in the middle of its message; only an abort keeps it from the peer."""

    def __init__(self, sop_instance_uid: str, reason: str) -> None:
        super().__init__(reason)
        self.sop_instance_uid = sop_instance_uid


class SameAssociation(Protocol):
    """Sends C-STORE sub-operations back over the association that asked with C-GET."""

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """Return the context in which the peer accepts this class in this syntax, or None."""

    def store(
        self,
        data: Sendable,
        context_id: int,
        sop: tuple[str, str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Send one object and return the peer's status.

        `sop` is (SOP Class UID, SOP Instance UID). `meanwhile` is called after the object was sent,
        before the wait for the answer.
        """


class OperationRefused(Permanent):
    """The operation is to be answered with this status."""

    def __init__(self, status: int, comment: str = "") -> None:
        super().__init__(comment or f"0x{status:04X}")
        self.status = status
        self.comment = comment


class ObjectSink(Protocol):
    """Receives the data set of one C-STORE as it arrives."""

    def write(self, chunk: memoryview) -> None:
        """Take a fragment; its memory is reused after this call returns.

        Raises:
            OperationRefused: answer this status, after reading and dropping the rest.
        """

    def commit(self) -> int:
        """Make the object durable, and return the status to answer.

        Raises:
            OperationRefused: answer this status; nothing is left behind.
        """

    def abandon(self) -> None:
        """Discard the object: the association ended in the middle."""


class AssociationOutcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    ABORTED_BY_PEER = "aborted by peer"
    ABORTED = "aborted"
    LOST = "connection lost"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer of a connection, as known before any negotiation."""

    association_id: str
    address: str
    local_address: str
    tls: str = ""
    """TLS version; empty: without TLS."""
    certificate: PeerCertificate | None = None
    """The certificate that the peer has proved to own, signed by one of our authorities."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A-ASSOCIATE-RJ: result, source and reason of PS3.8 9.3.4, and a text for the log."""

    result: int
    source: int
    reason: int
    words: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The accepted part of a request."""

    results: tuple[ContextResult, ...]
    roles: Mapping[str, Roles]
    extended: Mapping[str, bytes]
    rights: frozenset[Right] = frozenset(Right)
    denied: tuple[Right, ...] = ()
    """Missing rights, because of which presentation contexts were refused."""
    listed: bool = False
    """Whether the peer calls with a listed AE title from the expected address."""


class Admission(Protocol):
    """Decides who may associate, and is notified of each association."""

    def admit(self, peer: Peer, request: AssociateRequest, /) -> Accept | Reject:
        """Decide whether this peer may associate, and for what."""

    def opened(self, info: AssociationInfo, /) -> None:
        """An association was accepted."""

    def closed(self, info: AssociationInfo, outcome: AssociationOutcome, reason: str, /) -> None:
        """An association has ended."""

    def rejected(self, peer: Peer, request: AssociateRequest | None, reject: Reject, /) -> None:
        """A connection was rejected; `request` is None if none was received."""


class Operations(Protocol):
    """Answers the operations of accepted associations."""

    def echo(self, info: AssociationInfo, /) -> int:
        """Return the status of a C-ECHO."""

    def store(self, info: AssociationInfo, request: StoreRequest, /) -> ObjectSink:
        """Return the sink for the data set.

        Raises:
            OperationRefused: answer this status, after reading and dropping the data set.
        """

    def find(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool], /
    ) -> Iterator[Matches]:
        """Yield matches; the end means success, OperationRefused any other final status."""

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
        /,
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and finally the end."""

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool], /
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and finally the end."""


class ServiceProvider(Admission, Operations, Protocol):
    """Everything that an acceptor needs from its service."""
