"""C-GET: objects come back over our own association, into the path of every C-STORE (PS3.4 C.4.3).

Each object is durable before it is answered with success, as if it had been sent to the
receiver. The same SOP class is proposed in one context for each transfer syntax, so that
the node can send every object as it has it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import uuid4

import structlog

from draw_qr_worker.adapters.identifiers import encoded, failed_uids
from draw_qr_worker.adapters.remote_node import (
    IDENTIFIER_SYNTAXES,
    RemoteNodes,
    counts_of,
    model_of,
    refusal,
)
from draw_qr_worker.adapters.service_user import Proposal, UserAssociation
from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import (
    Fetched,
    Keys,
    Node,
    NotSupported,
    RetrieveEnd,
    SubOperationCounts,
    Supervision,
)
from draw_shared.dicom import uids
from draw_shared.dicom.associate import Roles
from draw_shared.dicom.message import NO_DATA_SET, RESPONSE, Command, Field, Operation
from draw_shared.dicom.service import AssociationInfo, PresentationContext, StoreRequest
from draw_shared.dicom.statuses import PENDING, Status, describe, is_warning
from draw_shared.errors import DrawError
from draw_shared.storage.ingest import answer_to
from draw_shared.storage.objects import Stored

log = structlog.get_logger()

MOST_CONTEXTS: Final = 127
"""One of the 128 contexts is that of C-GET itself."""
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What one association may bring."""

    max_object_bytes: int
    bytes_per_second: float = 0


class Getters:
    """Fetches from nodes by C-GET; every call opens one association and closes it."""

    def __init__(
        self, nodes: RemoteNodes, receiver: Receiver, max_object_bytes: Callable[[], int]
    ) -> None:
        self._nodes = nodes
        self._receiver = receiver
        self._max_object_bytes = max_object_bytes

    def get(
        self,
        node: Node,
        level: str,
        keys: Keys,
        *,
        sop_classes: Collection[str],
        further_classes: bool,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        stored: Callable[[Fetched], None],
    ) -> RetrieveEnd:
        """Fetch into our storage; `stored` is told of each object.

        Raises:
            StatusPermanent | StatusTransient: the node refused the whole retrieve.
        """
        model = model_of(node, Operation.C_GET)
        storage = storage_proposals(sop_classes, further_classes=further_classes)
        proposals = [Proposal(model, IDENTIFIER_SYNTAXES), *storage]
        roles = {proposal.abstract_syntax: Roles(scu=False, scp=True) for proposal in storage}
        with self._nodes.associated(node, supervision, proposals, roles=roles) as (peer, watch):
            context = peer.context(model)
            identifier = encoded(level, keys, context.transfer_syntax)
            message_id = peer.request(Operation.C_GET, context, identifier=identifier)
            watch.operation = (message_id, context.context_id)
            inlet = _Inlet(
                peer,
                self._receiver,
                _info(peer, node, self._nodes.own_ae(node)),
                Limits(self._max_object_bytes(), rate_of(node)),
                supervision,
            )
            while True:
                context_id, command = peer.receive()
                operation = peer.number(command, Field.COMMAND)
                if operation == Operation.C_STORE:
                    fetched = inlet.take(context_id, command)
                    if fetched is not None:
                        stored(fetched)
                    continue
                if operation != Operation.C_GET | RESPONSE:
                    raise NotSupported("the node sent what has no place in a retrieve")
                end = _answer(peer, command, context, progress)
                if end is not None:
                    break
        supervision.check()
        if end.status != Status.SUCCESS and not is_warning(end.status):
            raise refusal("C-GET", end.status)
        return end


def storage_proposals(
    sop_classes: Collection[str], *, further_classes: bool = False
) -> list[Proposal]:
    """Return a context for each class in each transfer syntax, as many syntaxes as fit.

    Usual classes are among them with `further_classes`, or when none is known.
    """
    classes: Sequence[str] = sorted(sop_classes)
    if further_classes or not classes:
        classes = [*classes, *(uid for uid in USUAL_CLASSES if uid not in sop_classes)]
    classes = classes[:MOST_CONTEXTS]
    syntaxes = USUAL_SYNTAXES[: max(1, MOST_CONTEXTS // len(classes))]
    if len(syntaxes) == 1:
        return [Proposal(sop_class, USUAL_SYNTAXES[:2]) for sop_class in classes]
    return [Proposal(sop_class, (syntax,)) for sop_class in classes for syntax in syntaxes]


def _answer(
    peer: UserAssociation,
    command: Command,
    context: PresentationContext,
    progress: Callable[[SubOperationCounts], None],
) -> RetrieveEnd | None:
    """Take note of a C-GET response and return the end, if it is that."""
    status = peer.number(command, Field.STATUS)
    raw = peer.receive_identifier() if command.has_data_set else b""
    counts = counts_of(command)
    progress(counts)
    if status in PENDING:
        return None
    failed = failed_uids(raw, context.transfer_syntax) if raw else ()
    return RetrieveEnd(status, describe(status), counts, failed)


class _Inlet:
    """Answers the C-STORE requests that come back over one association."""

    def __init__(
        self,
        peer: UserAssociation,
        receiver: Receiver,
        info: AssociationInfo,
        limits: Limits,
        supervision: Supervision,
    ) -> None:
        self._peer = peer
        self._receiver = receiver
        self._info = info
        self._limits = limits
        self._supervision = supervision
        self._throttle = Throttle(limits.bytes_per_second, supervision)

    def take(self, context_id: int, command: Command) -> Fetched | None:
        """Make one object durable, answer, and return it; None when it was refused."""
        status, fetched = self._received(context_id, command)
        fields: dict[Field, int | str | bytes] = {
            Field.AFFECTED_SOP_CLASS: command.get(Field.AFFECTED_SOP_CLASS, b""),
            Field.COMMAND: Operation.C_STORE | RESPONSE,
            Field.RESPONDED_MESSAGE_ID: self._peer.number(command, Field.MESSAGE_ID),
            Field.DATA_SET_TYPE: NO_DATA_SET,
            Field.STATUS: status,
            Field.AFFECTED_SOP_INSTANCE: command.get(Field.AFFECTED_SOP_INSTANCE, b""),
        }
        self._peer.send_command(fields, context_id)
        return fetched

    def _received(self, context_id: int, command: Command) -> tuple[int, Fetched | None]:
        context = self._peer.contexts.get(context_id)
        if context is None:
            raise NotSupported("the node sends in a presentation context that was not accepted")
        request = StoreRequest(
            message_id=self._peer.number(command, Field.MESSAGE_ID),
            sop_class_uid=command.text(Field.AFFECTED_SOP_CLASS),
            sop_instance_uid=command.text(Field.AFFECTED_SOP_INSTANCE),
            context=context,
        )
        intake = _Intake(self._limits, self._throttle)
        try:
            intake.reception = self._receiver.begin(self._info, request)
        except (DrawError, OSError) as error:
            intake.refuse(error)
        try:
            self._peer.receive_data_set(intake.write)
        except BaseException:
            intake.give_up()
            raise
        return intake.finish(request.sop_instance_uid)


class _Intake:
    """One data set on its way in, or dropped after a failure."""

    def __init__(self, limits: Limits, throttle: Throttle) -> None:
        self.reception: Reception | None = None
        self._limits = limits
        self._throttle = throttle
        self._size = 0
        self._failure: Exception | None = None

    def write(self, part: bytes) -> None:
        self._throttle.used(len(part))
        self._size += len(part)
        if self.reception is None:
            return
        try:
            if self._size > self._limits.max_object_bytes:
                raise ValueError("larger than any object may be")  # noqa: TRY301 - one way out
            self.reception.write(memoryview(part))
        except (DrawError, OSError, ValueError) as error:
            self.refuse(error)

    def finish(self, sop_instance_uid: str) -> tuple[int, Fetched | None]:
        """Return status and object; it is durable when that is success."""
        if self.reception is not None:
            try:
                return Status.SUCCESS, _fetched(sop_instance_uid, self.reception.complete())
            except (DrawError, OSError) as error:
                self.refuse(error)
        failure = self._failure or ValueError("nothing took it")
        status = answer_to(failure)
        log.warning(
            "get.object_refused",
            sop_instance_uid=sop_instance_uid,
            status=f"0x{status:04X}",
            error=type(failure).__name__,
        )
        return status, None

    def refuse(self, error: Exception) -> None:
        self._failure = error
        self.give_up()

    def give_up(self) -> None:
        if self.reception is not None:
            self.reception.abandon()
            self.reception = None


def _fetched(sop_instance_uid: str, stored: Stored) -> Fetched:
    return Fetched(
        stored.identity.study_instance_uid,
        sop_instance_uid,
        stored.size_bytes,
        stored.identity.series_instance_uid,
    )


def _info(peer: UserAssociation, node: Node, own_ae: str) -> AssociationInfo:
    """Return who sends, as the receiving path wants to know it."""
    user = peer.accepted.user if peer.accepted else None
    return AssociationInfo(
        association_id=str(uuid4()),
        calling_ae=node.ae_title,
        called_ae=own_ae,
        peer_address=peer.addresses.peer,
        local_address=peer.addresses.local,
        opened_at=datetime.now(UTC),
        contexts=peer.contexts,
        peer_max_pdu=user.max_pdu if user else 0,
        peer_implementation=user.implementation_version if user else "",
    )
