"""The accepting side of one association, from A-ASSOCIATE-RQ to its end (PS3.8 9.2).

One thread runs `serve` for one connection and does everything in it, in order: it reads a
request, calls the provider, writes the answer, and reads the next. A peer that sends requests
ahead (asynchronous operations window) gets its answers one after the other. Associations share
nothing, so they run in parallel without locks. Only `abort` may be called by another thread: it
shuts the connection down, which ends the blocking read.

When the connection breaks, the operation under way is abandoned: a half-received object is
dropped, and answers that were not sent are lost. Answered objects are durable.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn

import structlog

from draw_shared import wording
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import (
    AssociateAccept,
    AssociateRequest,
    UserInformation,
    decode_request,
)
from draw_shared.dicom.network.intake import take_in
from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.message import CommandElement, CommandSet, Operation
from draw_shared.dicom.network.message_reader import AbortedByPeer, MessageReader, ReleasedByPeer
from draw_shared.dicom.network.negotiation import belongs
from draw_shared.dicom.network.pdu import (
    COMMAND,
    MIN_PEER_PDU_BYTES,
    AbortReason,
    AbortSource,
    PduType,
    ProtocolViolation,
    abort,
    fragments,
    reject,
)
from draw_shared.dicom.network.placement import AssociationEnd, Placement
from draw_shared.dicom.network.service import (
    Accept,
    Admission,
    AssociationInfo,
    AssociationOutcome,
    CutShort,
    OperationRefused,
    Operations,
    Peer,
    PresentationContext,
    QueryRequest,
    Reject,
    RetrieveEnd,
    Sendable,
    StoreRequest,
    SubOperations,
)
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.network.store_writer import StoreWriter
from draw_shared.dicom.network.wire import PeerClosed, PeerTooSlow, Wire

log = structlog.get_logger()

FIRST_PDU_TIMEOUT_SECONDS: Final = 10.0
LINGER_TIMEOUT_SECONDS: Final = 2.0
FLUSH_BYTES: Final = 65536
MAX_OPERATIONS: Final = 32
"""Largest number of outstanding operations that a peer is granted (PS3.7 D.3.3.3)."""

Room = Callable[[Claimant], Reject | None]
"""Makes room for an association, or returns why there is none."""


class AcceptorAssociation:
    """Serves the accepting side of one connection."""

    def __init__(
        self,
        wire: Wire,
        peer: Peer,
        operations: Operations,
        limits: AssociationLimits,
        placement: Placement | None = None,
    ) -> None:
        self._wire = wire
        self._peer = peer
        self._operations = operations
        self._limits = limits
        self._placement = placement
        self._info: AssociationInfo | None = None
        self._cancelled: set[int] = set()
        self._aborted = False
        self._in_hand = False
        self._stored = 0
        self._reader = MessageReader(
            wire,
            dimse_seconds=limits.dimse_timeout_seconds,
            acse_seconds=limits.acse_timeout_seconds,
        )
        # A request that arrived while another one was being answered.
        self._deferred: tuple[PresentationContext, CommandSet] | None = None

    @property
    def established(self) -> bool:
        """Whether the association was accepted."""
        return self._info is not None

    @property
    def in_hand(self) -> bool:
        """Whether a complete request was received and is being answered, or was accepted."""
        return self._in_hand

    def serve(
        self, admission: Admission, room: Room, requested_by: float | None = None
    ) -> AssociationEnd:
        """Run the association to its end and return how it ended.

        `room` returns why there is no room for the association. `requested_by` is the time, on the
        monotonic clock, by which the request must be complete (the ARTIM timer of PS3.8 9.1.5).
        """

        def served() -> AssociationEnd:
            request = self._read_request(requested_by)
            self._in_hand = True
            if not self._decide(request, admission, room):
                return AssociationEnd(AssociationOutcome.LOST)
            if self._placement is None:
                self._operate()
            return self._placement.serve(
                self._required_info, self._wire, self._limits, self._operate
            )

        ending = self._run_to_end(served)
        if self._aborted:
            ending = ending._replace(outcome=AssociationOutcome.ABORTED)
        if self._info is not None:
            admission.closed(self._info, ending.outcome, ending.reason)
        return ending

    def carry_on(self, info: AssociationInfo) -> AssociationEnd:
        """Serve an association that another process accepted, and return how it ended."""
        self._info = info
        self._wire.limit_data(self._limits.max_pdu_bytes)
        return self._run_to_end(self._operate)

    def _run_to_end(self, served: Callable[[], AssociationEnd]) -> AssociationEnd:
        """Serve and close the connection, and return how the association ended."""
        try:
            ending = served()
        except ReleasedByPeer:
            self._wire.close_politely(LINGER_TIMEOUT_SECONDS)
            ending = AssociationEnd(AssociationOutcome.RELEASED)
        except AbortedByPeer:
            ending = AssociationEnd(AssociationOutcome.ABORTED_BY_PEER)
        except PeerClosed as closed:
            ending = AssociationEnd(AssociationOutcome.LOST, str(closed))
        except PeerTooSlow as slow:
            self._say_abort(AbortReason.NOT_SPECIFIED)
            ending = AssociationEnd(AssociationOutcome.TIMED_OUT, str(slow))
        except ProtocolViolation as violation:
            self._say_abort(violation.reason)
            ending = AssociationEnd(AssociationOutcome.ABORTED, str(violation))
        except CutShort as cut:
            self._say_abort(AbortReason.NOT_SPECIFIED)
            ending = AssociationEnd(
                AssociationOutcome.ABORTED,
                wording.message("an object could not be sent to its end: %(cut)s", cut=cut),
            )
        except Exception:
            log.exception("association.failed", association_id=self._peer.association_id)
            self._say_abort(AbortReason.NOT_SPECIFIED)
            ending = AssociationEnd(AssociationOutcome.ABORTED, wording.message("internal failure"))
        finally:
            self._wire.close()
        return ending

    def abort(self) -> None:
        """End the association from another thread."""
        self._aborted = True
        if not self._wire.encrypted:
            self._say_abort(AbortReason.NOT_SPECIFIED)
        self._wire.interrupt()

    def _say_abort(self, reason: AbortReason) -> None:
        try:
            self._wire.send([abort(AbortSource.SERVICE_PROVIDER, reason)], LINGER_TIMEOUT_SECONDS)
        except (PeerClosed, PeerTooSlow):
            return

    def _read_request(self, whole_by: float | None) -> AssociateRequest:
        seconds = min(FIRST_PDU_TIMEOUT_SECONDS, self._limits.acse_timeout_seconds)
        latest = time.monotonic() + seconds
        kind, body = self._wire.read_pdu(seconds, whole_by=min(latest, whole_by or latest))
        if kind != PduType.ASSOCIATE_RQ:
            raise ProtocolViolation(
                wording.message("expected A-ASSOCIATE-RQ"), AbortReason.UNEXPECTED_PDU
            )
        request = decode_request(bytes(body))
        if 0 < request.user.max_pdu < MIN_PEER_PDU_BYTES:
            raise ProtocolViolation(wording.message("the peer takes no PDU of useful length"))
        return request

    def _decide(self, request: AssociateRequest, admission: Admission, room: Room) -> bool:
        decision = admission.admit(self._peer, request)
        if not isinstance(decision, Reject):
            claimant = Claimant(self._peer.address, request.calling_ae, decision.listed)
            decision = room(claimant) or decision
        if isinstance(decision, Reject):
            admission.rejected(self._peer, request, decision)
            self._wire.send(
                [reject(decision.result, decision.source, decision.reason)], LINGER_TIMEOUT_SECONDS
            )
            self._in_hand = False
            self._wire.close_politely(LINGER_TIMEOUT_SECONDS)
            return False
        answer, self._info = accept_request(
            self._peer, request, decision, self._limits.max_pdu_bytes
        )
        self._wire.limit_data(self._limits.max_pdu_bytes)
        admission.opened(self._info)
        self._wire.send([answer.encode()], self._limits.acse_timeout_seconds)
        return True

    def _operate(self) -> NoReturn:
        while True:
            context, command = self._deferred or self._next_command()
            self._deferred = None
            self._answer(context, command)

    def _next_command(self) -> tuple[PresentationContext, CommandSet]:
        context_id, command = self._reader.command(self._limits.network_timeout_seconds)
        context = self._required_info.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation(wording.message("this presentation context was not accepted"))
        return context, command

    @property
    def _required_info(self) -> AssociationInfo:
        if self._info is None:
            raise RuntimeError("the association is not established")
        return self._info

    def _answer(self, context: PresentationContext, command: CommandSet) -> None:
        operation = command.number(CommandElement.COMMAND)
        if operation == Operation.C_STORE:
            self._answer_store(context, command)
        elif operation == Operation.C_CANCEL:
            self._cancelled.add(command.number(CommandElement.RESPONDED_MESSAGE_ID))
        elif operation & message.RESPONSE:
            raise ProtocolViolation(wording.message("a response nobody asked for"))
        else:
            self._answer_other(context, command, operation)

    def _answer_other(
        self, context: PresentationContext, command: CommandSet, operation: int
    ) -> None:
        identifier = self._reader.identifier(context.context_id) if command.has_data_set else b""
        status, comment = DimseStatus.UNRECOGNIZED_OPERATION.value, ""
        try:
            if not belongs(operation, context.abstract_syntax):
                status = DimseStatus.SOP_CLASS_NOT_SUPPORTED
            elif operation == Operation.C_ECHO:
                status = self._operations.echo(self._required_info)
            elif operation in {Operation.C_FIND, Operation.C_GET, Operation.C_MOVE}:
                request = QueryRequest(
                    command.number(CommandElement.MESSAGE_ID),
                    command.text(CommandElement.AFFECTED_SOP_CLASS),
                    context,
                    identifier,
                    command.text(CommandElement.MOVE_DESTINATION),
                )
                if operation == Operation.C_FIND:
                    status = self._find(context, command, request)
                else:
                    self._retrieve(context, command, request, operation)
                    return
        except OperationRefused as refused:
            status, comment = refused.status, refused.comment
        self._respond(context, message.response(command, operation, status, comment))

    def _answer_store(self, context: PresentationContext, command: CommandSet) -> None:
        originator = command.number(CommandElement.MOVE_ORIGINATOR_MESSAGE_ID, -1)
        request = StoreRequest(
            command.number(CommandElement.MESSAGE_ID),
            command.text(CommandElement.AFFECTED_SOP_CLASS),
            command.text(CommandElement.AFFECTED_SOP_INSTANCE),
            context,
            command.text(CommandElement.MOVE_ORIGINATOR_AE),
            originator if originator >= 0 else None,
            ordinal=self._stored + 1,
        )
        if not command.has_data_set:
            raise ProtocolViolation(wording.message("C-STORE without data set"))
        status, comment = self._store(request)
        self._stored += status == DimseStatus.SUCCESS
        self._respond(context, message.response(command, Operation.C_STORE, status, comment))

    def _store(self, request: StoreRequest) -> tuple[int, str]:
        return take_in(
            lambda: self._operations.store(self._required_info, request),
            lambda take: self._reader.data_set(
                request.context.context_id, take, self._limits.max_object_bytes
            ),
        )

    def _respond(self, context: PresentationContext, command: bytes) -> None:
        buffers = fragments(command, context.context_id, COMMAND, self._required_info.peer_max_pdu)
        self._send([b"".join(buffers)])

    def _send(self, buffers: Sequence[bytes | memoryview]) -> None:
        self._wire.send(buffers, self._limits.dimse_timeout_seconds)

    def _find(
        self, context: PresentationContext, command: CommandSet, request: QueryRequest
    ) -> int:
        waiting: list[bytes | memoryview] = []
        size = 0
        heads: dict[int, list[bytes | memoryview]] = {}
        peer_max = self._required_info.peer_max_pdu
        cancelled = self._cancel_check(request.message_id)
        for matches in self._operations.find(self._required_info, request, cancelled):
            head = heads.get(matches.status)
            if head is None:
                raw = message.response(command, Operation.C_FIND, matches.status, data_set=True)
                head = heads[matches.status] = fragments(raw, context.context_id, COMMAND, peer_max)
            for identifier in matches.identifiers:
                waiting += head
                waiting += fragments(identifier, context.context_id, 0, peer_max)
                size += len(identifier)
                if size >= FLUSH_BYTES:
                    self._send([b"".join(waiting)])
                    waiting, size = [], 0
            if waiting:
                self._send([b"".join(waiting)])
                waiting, size = [], 0
            if cancelled():
                return DimseStatus.CANCELLED
        return DimseStatus.SUCCESS

    def _retrieve(
        self,
        context: PresentationContext,
        command: CommandSet,
        request: QueryRequest,
        operation: int,
    ) -> None:
        info = self._required_info
        cancelled = self._cancel_check(request.message_id)
        if operation == Operation.C_GET:
            writer = StoreWriter(self._send, info.peer_max_pdu)
            channel = SubOperationChannel(info, writer, self._sub_operation_status)
            steps = self._operations.get(info, request, channel, cancelled)
        else:
            steps = self._operations.move(info, request, cancelled)
        for step in steps:
            if isinstance(step, SubOperations):
                self._respond(context, progress(command, operation, step))
            else:
                self._end_retrieve(context, command, operation, step)

    def _end_retrieve(
        self, context: PresentationContext, command: CommandSet, operation: int, end: RetrieveEnd
    ) -> None:
        raw = progress(command, operation, end.counts, end)
        peer_max = self._required_info.peer_max_pdu
        buffers = fragments(raw, context.context_id, COMMAND, peer_max)
        if end.identifier:
            buffers += fragments(end.identifier, context.context_id, 0, peer_max)
        self._send([b"".join(buffers)])

    def _cancel_check(self, message_id: int) -> Callable[[], bool]:
        """Return a function that checks, without waiting, whether the peer has cancelled."""
        self._cancelled.discard(message_id)

        def cancelled() -> bool:
            while (
                message_id not in self._cancelled
                and self._deferred is None
                and self._reader.waiting()
            ):
                context, command = self._next_command()
                if command.number(CommandElement.COMMAND) == Operation.C_CANCEL:
                    self._cancelled.add(command.number(CommandElement.RESPONDED_MESSAGE_ID))
                else:
                    # Sent ahead: it waits here for its turn, later ones in the socket.
                    self._deferred = context, command
            return message_id in self._cancelled

        return cancelled

    def _sub_operation_status(self) -> int:
        """Return the peer's answer to a C-STORE sub-operation; a C-CANCEL may come first."""
        if self._deferred is not None:
            raise ProtocolViolation(
                wording.message("only C-CANCEL may come during C-GET sub-operations")
            )
        while True:
            _, command = self._next_command()
            operation = command.number(CommandElement.COMMAND)
            if operation == Operation.C_STORE | message.RESPONSE:
                return command.number(CommandElement.STATUS)
            if operation != Operation.C_CANCEL:
                raise ProtocolViolation(
                    wording.message("only C-CANCEL may come during C-GET sub-operations")
                )
            self._cancelled.add(command.number(CommandElement.RESPONDED_MESSAGE_ID))


class SubOperationChannel:
    """Sends C-GET sub-operations back over the association itself."""

    def __init__(
        self, info: AssociationInfo, writer: StoreWriter, answered: Callable[[], int]
    ) -> None:
        self._writer = writer
        self._answered = answered
        self._contexts: dict[tuple[str, str], int] = {}
        roles = info.roles
        for context in info.contexts.values():
            granted = roles.get(context.abstract_syntax)
            if granted is not None and granted.scp:
                key = context.abstract_syntax, context.transfer_syntax
                self._contexts[key] = context.context_id

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        return self._contexts.get((sop_class_uid, transfer_syntax_uid))

    def store(
        self,
        data: Sendable,
        context_id: int,
        sop: tuple[str, str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        self._writer.write(data, context_id, sop)
        meanwhile()
        return self._answered()


def progress(
    request: CommandSet, operation: int, counts: SubOperations, end: RetrieveEnd | None = None
) -> bytes:
    """Return a C-GET or C-MOVE response with its counts (PS3.7 9.3.3.2, 9.3.4.2)."""
    status = DimseStatus.PENDING if end is None else end.status
    has_identifier = end is not None and bool(end.identifier)
    fields: dict[CommandElement, int | str | bytes] = {
        CommandElement.AFFECTED_SOP_CLASS: request.get(CommandElement.AFFECTED_SOP_CLASS, b""),
        CommandElement.COMMAND: operation | message.RESPONSE,
        CommandElement.RESPONDED_MESSAGE_ID: request.number(CommandElement.MESSAGE_ID),
        CommandElement.DATA_SET_TYPE: message.DATA_SET if has_identifier else message.NO_DATA_SET,
        CommandElement.STATUS: status,
        CommandElement.COMPLETED: counts.completed,
        CommandElement.FAILED: counts.failed,
        CommandElement.WARNING: counts.warning,
    }
    if end is None or status == DimseStatus.CANCELLED:
        # Only pending and cancelled responses may contain this element (PS3.4 C.4.2.1.6).
        fields[CommandElement.REMAINING] = counts.remaining
    if end is not None and end.comment:
        fields[CommandElement.ERROR_COMMENT] = end.comment[:64]
    return message.encode(fields)


def accept_request(
    peer: Peer, request: AssociateRequest, decision: Accept, max_pdu: int
) -> tuple[AssociateAccept, AssociationInfo]:
    """Return the A-ASSOCIATE-AC and the association that it establishes."""
    user = UserInformation(
        max_pdu=max_pdu,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        asynchronous=_grant_window(request.user.asynchronous),
        roles=dict(decision.roles),
        extended=dict(decision.extended),
        identity_response=(
            b""
            if request.user.identity is not None and request.user.identity.positive_response
            else None
        ),
    )
    answer = AssociateAccept(request.calling_ae, request.called_ae, decision.results, user)
    proposed = {c.context_id: c.abstract_syntax for c in request.contexts}
    contexts = {
        r.context_id: PresentationContext(r.context_id, proposed[r.context_id], r.transfer_syntax)
        for r in decision.results
        if r.result == 0
    }
    return answer, AssociationInfo(
        association_id=peer.association_id,
        calling_ae=request.calling_ae,
        called_ae=request.called_ae,
        peer_address=peer.address,
        local_address=peer.local_address,
        opened_at=datetime.now(UTC),
        contexts=contexts,
        peer_max_pdu=request.user.max_pdu,
        peer_implementation=request.user.implementation_version,
        roles=decision.roles,
        extended=decision.extended,
        tls=peer.tls,
        certificate=peer.certificate,
        rights=decision.rights,
        listed=decision.listed,
    )


def _grant_window(proposed: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the granted window: invoked up to the bound, performed one at a time."""
    if proposed is None:
        return None
    invoked = proposed[0] or MAX_OPERATIONS
    return min(invoked, MAX_OPERATIONS), 1
