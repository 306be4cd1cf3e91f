"""C-GET: receives objects over our own association and stores them as C-STORE does (PS3.4 C.4.3).

An object is durable before we answer its C-STORE with success, exactly as in the receiver. We
propose the same SOP class once for each transfer syntax, so that the node can send every object in
the syntax in which it holds it.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog
from typing_extensions import override

from draw_qr_worker.adapters.identifiers import encode_identifier
from draw_qr_worker.adapters.remote_node import (
    IDENTIFIER_SYNTAXES,
    Proposal,
    RemoteNodes,
    end_of,
    model_of,
    read_final_response,
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
from draw_shared import wording
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
from draw_shared.storage.ingest import Ingest, Reception, answer_to
from draw_shared.storage.objects import Stored

log = structlog.get_logger()

MAX_STORAGE_CONTEXTS: Final = MAX_CONTEXTS - 1
"""C-GET itself needs one of the presentation contexts."""
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
"""Transfer syntaxes, the most common first."""
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
"""Proposed when the classes of the expected objects are unknown."""


class TooLarge(Permanent):
    """The object exceeds the configured maximum size."""


class GetAssociations(GetPeers):
    """Fetches from nodes by C-GET; every call opens and closes one association."""

    def __init__(
        self, nodes: RemoteNodes, receiver: Ingest, max_object_bytes: Callable[[], int]
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
        storage = propose_storage(sop_classes, further_classes=further_classes)
        proposals = [(model, IDENTIFIER_SYNTAXES), *storage]
        roles = {sop_class: Roles(scu=False, scp=True) for sop_class, _ in storage}
        with self._nodes.associate(node, supervision, proposals, roles=roles) as (peer, watch):
            context = peer.context(model)
            identifier = encode_identifier(level, keys, context.transfer_syntax)
            watch.request = request = peer.request(Operation.C_GET, context, identifier=identifier)
            inlet = _StoreServer(
                peer,
                self._receiver,
                _association_info(peer, node, self._nodes.own_ae(node)),
                self._max_object_bytes(),
                Throttle(rate_of(node), supervision),
                stored,
            )
            response = read_final_response(peer, request, progress, inlet.take)
        supervision.check()
        return end_of("C-GET", response, context)


def propose_storage(
    sop_classes: Collection[str], *, further_classes: bool = False
) -> list[Proposal]:
    """Return a context for each class and transfer syntax, as many as fit.

    The usual classes are included with `further_classes`, or when no class is known.
    """
    classes: Sequence[str] = sorted(sop_classes)
    if further_classes or not classes:
        classes = [*classes, *(uid for uid in USUAL_CLASSES if uid not in sop_classes)]
    classes = classes[:MAX_STORAGE_CONTEXTS]
    syntaxes = USUAL_SYNTAXES[: max(1, MAX_STORAGE_CONTEXTS // len(classes))]
    if len(syntaxes) == 1:
        return [(sop_class, USUAL_SYNTAXES[:2]) for sop_class in classes]
    return [(sop_class, (syntax,)) for sop_class in classes for syntax in syntaxes]


class _StoreServer:
    """Serves the C-STORE sub-operations that arrive over one association."""

    def __init__(
        self,
        peer: RequestorAssociation,
        receiver: Ingest,
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
        """Store one object, answer the request, and report the object unless it was refused."""
        if command.number(CommandElement.COMMAND) != Operation.C_STORE or not command.has_data_set:
            raise ProtocolViolation(wording.message("a request that has no place in a retrieve"))
        request = StoreRequest(
            message_id=command.number(CommandElement.MESSAGE_ID),
            sop_class_uid=command.text(CommandElement.AFFECTED_SOP_CLASS),
            sop_instance_uid=command.text(CommandElement.AFFECTED_SOP_INSTANCE),
            context=context,
        )
        fetched: list[Fetched] = []

        def begin() -> _StoreSink:
            with _answer_failures(request.sop_instance_uid):
                reception = self._receiver.begin(self._info, request)
            return _StoreSink(reception, request, self._max_object_bytes, fetched.append)

        status, _ = take_in(begin, lambda take: self._read(context.context_id, take))
        answer = message.response(command, Operation.C_STORE, status)
        self._peer.send(fragments(answer, context.context_id, COMMAND, self._info.peer_max_pdu))
        for one in fetched:
            self._stored(one)

    def _read(self, context_id: int, take: Callable[[memoryview], None]) -> None:
        def take_throttled(part: memoryview) -> None:
            self._throttle.use(len(part))
            take(part)

        # Read a refused data set to its end: the node may send others that we accept.
        self._peer.data_set(context_id, take_throttled, sys.maxsize)


class _StoreSink:
    """Receives the data set of one request (the engine's ObjectSink)."""

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
        """Write one fragment."""
        self._size += len(chunk)
        with _answer_failures(self._uid):
            if self._size > self._max_bytes:
                raise TooLarge(wording.message("larger than any object may be"))
            self._reception.write(chunk)

    def commit(self) -> int:
        """Make the object durable and return success."""
        try:
            with _answer_failures(self._uid):
                self._stored(_describe_fetched(self._uid, self._reception.complete()))
        except OperationRefused:
            self._reception.abandon()
            raise
        return DimseStatus.SUCCESS

    def abandon(self) -> None:
        """Delete everything that was written."""
        self._reception.abandon()


@contextmanager
def _answer_failures(sop_instance_uid: str) -> Iterator[None]:
    """Turn each failure to store the object into its C-STORE status."""
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


def _describe_fetched(sop_instance_uid: str, stored: Stored) -> Fetched:
    return Fetched(
        stored.identity.study_instance_uid,
        sop_instance_uid,
        stored.size_bytes,
        stored.identity.series_instance_uid,
    )


def _association_info(peer: RequestorAssociation, node: RemoteNode, own_ae: str) -> AssociationInfo:
    """Return the sender in the form that the receiving path expects."""
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
