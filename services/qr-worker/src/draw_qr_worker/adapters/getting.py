"""C-GET: objects come back over our own association, into the path of every C-STORE (PS3.4 C.4.3).

Each object is durable before it is answered with success, as if it had been sent to the
receiver. The same SOP class is proposed in one context for each transfer syntax, so that
the node can send every object as it has it.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import uuid4

import structlog
from typing_extensions import override

from draw_qr_worker.adapters.identifiers import encoded
from draw_qr_worker.adapters.remote_node import (
    IDENTIFIER_SYNTAXES,
    Proposal,
    RemoteNodes,
    end_of,
    final_response,
    model_of,
)
from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import (
    Fetched,
    Keys,
    RemoteNode,
    RemoteRetrieveEnd,
    SubOperationCounts,
)
from draw_qr_worker.ports.retrieving import GetPeers
from draw_qr_worker.ports.supervision import Supervision
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import MAX_CONTEXTS, Roles
from draw_shared.dicom.network.intake import take_in
from draw_shared.dicom.network.message import CommandElement, CommandSet, Operation
from draw_shared.dicom.network.pdu import COMMAND, ProtocolViolation, fragments
from draw_shared.dicom.network.requestor import RequestorAssociation
from draw_shared.dicom.network.service import (
    AssociationInfo,
    OperationRefused,
    PresentationContext,
    StoreRequest,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.errors import DrawError, Permanent
from draw_shared.storage.ingest import answer_to
from draw_shared.storage.objects import Stored

log = structlog.get_logger()

MAX_STORAGE_CONTEXTS: Final = MAX_CONTEXTS - 1
"""One context is that of C-GET itself."""
USUAL_SYNTAXES: Final = (
    uids.EXPLICIT_LITTLE,
    uids.IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, SV1
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, process 14
    uids.EXPLICIT_BIG,
    uids.DEFLATED_LITTLE,
)
"""Transfer syntaxes by how often objects lie in them."""
USUAL_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT Plan
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.481.1",  # RT Image
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.20",  # NM
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX
    "1.2.840.10008.5.1.4.1.1.1.2",  # Mammography
    "1.2.840.10008.5.1.4.1.1.6.1",  # US
    "1.2.840.10008.5.1.4.1.1.3.1",  # US multi-frame
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.66",  # Raw Data
    "1.2.840.10008.5.1.4.1.1.66.1",  # Spatial Registration
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-Ray Radiation Dose SR
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Presentation State
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
)
"""What is proposed when nobody knows which classes will come."""


class TooLarge(Permanent):
    """The object is larger than the configuration allows."""


class Reception(Protocol):
    """One object while its data set arrives."""

    def write(self, chunk: memoryview) -> None:
        """Take the next fragment."""

    def complete(self) -> Stored:
        """Return once the object is durable and will be announced."""

    def abandon(self) -> None:
        """Leave nothing behind."""


class Receiver(Protocol):
    """The durable way in that every received object takes."""

    def begin(self, info: AssociationInfo, request: StoreRequest) -> Reception:
        """Return who takes the data set of this request."""


class GetAssociations(GetPeers):
    """Fetches from nodes by C-GET; every call opens one association and closes it."""

    def __init__(
        self, nodes: RemoteNodes, receiver: Receiver, max_object_bytes: Callable[[], int]
    ) -> None:
        self._nodes = nodes
        self._receiver = receiver
        self._max_object_bytes = max_object_bytes

    @override
    def get(
        self,
        node: RemoteNode,
        level: str,
        keys: Keys,
        *,
        sop_classes: Collection[str],
        further_classes: bool,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        stored: Callable[[Fetched], None],
    ) -> RemoteRetrieveEnd:
        model = model_of(node, Operation.C_GET)
        storage = storage_proposals(sop_classes, further_classes=further_classes)
        proposals = [(model, IDENTIFIER_SYNTAXES), *storage]
        roles = {sop_class: Roles(scu=False, scp=True) for sop_class, _ in storage}
        with self._nodes.associated(node, supervision, proposals, roles=roles) as (peer, watch):
            context = peer.context(model)
            identifier = encoded(level, keys, context.transfer_syntax)
            watch.request = request = peer.request(Operation.C_GET, context, identifier=identifier)
            inlet = _Inlet(
                peer,
                self._receiver,
                _info(peer, node, self._nodes.own_ae(node)),
                self._max_object_bytes(),
                Throttle(rate_of(node), supervision),
                stored,
            )
            response = final_response(peer, request, progress, inlet.take)
        supervision.check()
        return end_of("C-GET", response, context)


def storage_proposals(
    sop_classes: Collection[str], *, further_classes: bool = False
) -> list[Proposal]:
    """Return a context for each class in each transfer syntax, as many syntaxes as fit.

    Usual classes are among them with `further_classes`, or when none is known.
    """
    classes: Sequence[str] = sorted(sop_classes)
    if further_classes or not classes:
        classes = [*classes, *(uid for uid in USUAL_CLASSES if uid not in sop_classes)]
    classes = classes[:MAX_STORAGE_CONTEXTS]
    syntaxes = USUAL_SYNTAXES[: max(1, MAX_STORAGE_CONTEXTS // len(classes))]
    if len(syntaxes) == 1:
        return [(sop_class, USUAL_SYNTAXES[:2]) for sop_class in classes]
    return [(sop_class, (syntax,)) for sop_class in classes for syntax in syntaxes]


class _Inlet:
    """Answers the C-STORE requests that come back over one association."""

    def __init__(
        self,
        peer: RequestorAssociation,
        receiver: Receiver,
        info: AssociationInfo,
        max_object_bytes: int,
        throttle: Throttle,
        stored: Callable[[Fetched], None],
    ) -> None:
        self._peer = peer
        self._receiver = receiver
        self._info = info
        self._max_object_bytes = max_object_bytes
        self._throttle = throttle
        self._stored = stored

    def take(self, context: PresentationContext, command: CommandSet) -> None:
        """Make one object durable, answer, and tell of it unless it was refused."""
        if command.number(CommandElement.COMMAND) != Operation.C_STORE or not command.has_data_set:
            raise ProtocolViolation("a request that has no place in a retrieve")
        request = StoreRequest(
            message_id=command.number(CommandElement.MESSAGE_ID),
            sop_class_uid=command.text(CommandElement.AFFECTED_SOP_CLASS),
            sop_instance_uid=command.text(CommandElement.AFFECTED_SOP_INSTANCE),
            context=context,
        )
        fetched: list[Fetched] = []

        def begin() -> _Sink:
            with _refusals(request.sop_instance_uid):
                reception = self._receiver.begin(self._info, request)
            return _Sink(reception, request, self._max_object_bytes, fetched.append)

        status, _ = take_in(begin, lambda take: self._read(context.context_id, take))
        answer = message.response(command, Operation.C_STORE, status)
        self._peer.send(fragments(answer, context.context_id, COMMAND, self._info.peer_max_pdu))
        for one in fetched:
            self._stored(one)

    def _read(self, context_id: int, take: Callable[[memoryview], None]) -> None:
        def throttled(part: memoryview) -> None:
            self._throttle.used(len(part))
            take(part)

        # What is refused is read to its end: the node may have others that are not.
        self._peer.data_set(context_id, throttled, sys.maxsize)


class _Sink:
    """Takes the data set of one request (the engine's ObjectSink)."""

    def __init__(
        self,
        reception: Reception,
        request: StoreRequest,
        max_bytes: int,
        stored: Callable[[Fetched], None],
    ) -> None:
        self._reception = reception
        self._uid = request.sop_instance_uid
        self._max_bytes = max_bytes
        self._stored = stored
        self._size = 0

    def write(self, chunk: memoryview) -> None:
        """Take a fragment."""
        self._size += len(chunk)
        with _refusals(self._uid):
            if self._size > self._max_bytes:
                raise TooLarge("larger than any object may be")
            self._reception.write(chunk)

    def commit(self) -> int:
        """Return success when the object is durable."""
        try:
            with _refusals(self._uid):
                self._stored(_fetched(self._uid, self._reception.complete()))
        except OperationRefused:
            self._reception.abandon()
            raise
        return DimseStatus.SUCCESS

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._reception.abandon()


@contextmanager
def _refusals(sop_instance_uid: str) -> Iterator[None]:
    """Turn what keeps an object from being durable into its answer."""
    try:
        yield
    except (DrawError, OSError) as error:
        status = answer_to(error)
        log.warning(
            "get.object_refused",
            sop_instance_uid=sop_instance_uid,
            status=f"0x{status:04X}",
            error=type(error).__name__,
        )
        raise OperationRefused(status) from error


def _fetched(sop_instance_uid: str, stored: Stored) -> Fetched:
    return Fetched(
        stored.identity.study_instance_uid,
        sop_instance_uid,
        stored.size_bytes,
        stored.identity.series_instance_uid,
    )


def _info(peer: RequestorAssociation, node: RemoteNode, own_ae: str) -> AssociationInfo:
    """Return who sends, as the receiving path wants to know it."""
    user = peer.accepted.user
    return AssociationInfo(
        association_id=str(uuid4()),
        calling_ae=node.ae_title,
        called_ae=own_ae,
        peer_address=peer.addresses.peer,
        local_address=peer.addresses.local,
        opened_at=datetime.now(UTC),
        contexts=peer.contexts,
        peer_max_pdu=user.max_pdu,
        peer_implementation=user.implementation_version,
    )
