"""The requesting side of one association, on the thread of the job that needs it (PS3.8 9.2).

Every wait is cut into short ones; between them the `between` hook of the operation runs,
which may send C-CANCEL or raise. So a job can be cancelled, or lose its lease, while a peer
says nothing, and no other thread ever touches the connection. A peer that is silent for the
node's timeout, or that sends what is not DICOM, is aborted.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from draw_qr_worker.adapters.connecting import Addresses, connected, rejection
from draw_qr_worker.models import (
    Node,
    NotSupported,
    PeerAborted,
    PeerTimeout,
    PeerTurnedAway,
)
from draw_shared.dicom import message
from draw_shared.dicom.associate import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    Roles,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.message import DATA_SET, NO_DATA_SET, Command, Field, Operation
from draw_shared.dicom.pdu import (
    COMMAND,
    LAST,
    RELEASE_RP,
    RELEASE_RQ,
    AbortSource,
    PduType,
    ProtocolViolation,
    abort,
    fragments,
    pdvs,
)
from draw_shared.dicom.peer_trust import PeerTrusts
from draw_shared.dicom.service import PresentationContext
from draw_shared.dicom.wire import PeerClosed, PeerTooSlow, Wire

SLICE_SECONDS: Final = 0.25
RELEASE_SECONDS: Final = 5.0
SEND_SECONDS: Final = 30.0
LONGEST_IDENTIFIER: Final = 4 * 1024 * 1024
"""Longest identifier that is taken from a peer, bytes."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context that we propose."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class UserAssociation:
    """An association with a node; leaving the block releases it, by an exception aborts it."""

    def __init__(
        self, wire: Wire, node: Node, timeout_seconds: float, addresses: Addresses
    ) -> None:
        self._wire = wire
        self._node = node
        self._timeout = timeout_seconds
        self._heard_at = time.monotonic()
        self._message_id = 0
        self._pending: list[tuple[int, int, bytes]] = []
        self._open = True
        self._answered = False
        self.addresses = addresses
        self.between: Callable[[], None] = lambda: None
        self.contexts: dict[int, PresentationContext] = {}
        self.accepted: AssociateAccept | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

    @property
    def is_open(self) -> bool:
        """Whether requests can still be sent."""
        return self._open

    @property
    def bytes_read(self) -> int:
        """How much the peer has sent."""
        return self._wire.bytes_read

    def context(self, abstract_syntax: str) -> PresentationContext:
        """Return the accepted context of a SOP class.

        Raises:
            NotSupported: the peer accepted none.
        """
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        raise NotSupported("the node accepts the association but not this service")

    def negotiate(self, request: AssociateRequest) -> None:
        """Ask for the association.

        Raises:
            PeerRefused | PeerBusy | PeerCongested: it was rejected.
            PeerTimeout | PeerAborted: it was not answered.
        """
        self._send([request.encode()])
        kind, body = self._read_pdu()
        if kind == PduType.ASSOCIATE_RJ and len(body) == 4:  # noqa: PLR2004 - PS3.8 9.3.4
            self._close()
            raise rejection(body)
        if kind != PduType.ASSOCIATE_AC:
            raise self._broken("expected an answer to A-ASSOCIATE-RQ")
        try:
            self.accepted = decode_accept(body)
        except ProtocolViolation as violation:
            raise self._broken(str(violation)) from violation
        proposed = {context.context_id: context for context in request.contexts}
        self.contexts = {
            result.context_id: PresentationContext(
                result.context_id,
                proposed[result.context_id].abstract_syntax,
                result.transfer_syntax,
            )
            for result in self.accepted.results
            if result.result == 0 and result.context_id in proposed
        }

    def request(
        self,
        operation: Operation,
        context: PresentationContext,
        *,
        identifier: bytes | None = None,
        move_destination: str = "",
    ) -> int:
        """Send a request and return its message id."""
        self._message_id += 1
        fields: dict[Field, int | str | bytes] = {
            Field.AFFECTED_SOP_CLASS: context.abstract_syntax,
            Field.COMMAND: operation,
            Field.MESSAGE_ID: self._message_id,
            Field.DATA_SET_TYPE: NO_DATA_SET if identifier is None else DATA_SET,
        }
        if identifier is not None:
            fields[Field.PRIORITY] = 0
        if move_destination:
            # Padded here: a title with a dot and a digit would be taken for a UID.
            fields[Field.MOVE_DESTINATION] = move_destination.encode("ascii").ljust(16)
        self.send_command(fields, context.context_id, identifier)
        return self._message_id

    def send_command(
        self,
        fields: dict[Field, int | str | bytes],
        context_id: int,
        data_set: bytes | None = None,
    ) -> None:
        """Send one message."""
        limit = self.accepted.user.max_pdu if self.accepted else 0
        buffers = fragments(message.encode(fields), context_id, COMMAND, limit)
        if data_set is not None:
            buffers += fragments(data_set, context_id, 0, limit)
        self._send(buffers)

    def cancel(self, message_id: int, context_id: int) -> None:
        """Send C-CANCEL; whether the peer heeds it is its affair (PS3.7 9.3.2.3)."""
        fields: dict[Field, int | str | bytes] = {
            Field.COMMAND: Operation.C_CANCEL,
            Field.RESPONDED_MESSAGE_ID: message_id,
            Field.DATA_SET_TYPE: NO_DATA_SET,
        }
        self.send_command(fields, context_id)

    def receive(self) -> tuple[int, Command]:
        """Return presentation context id and command set of the next message."""
        raw = bytearray()
        while True:
            context_id, control, part = self._next_fragment()
            if not control & COMMAND:
                raise self._broken("expected a command set")
            raw += part
            if len(raw) > message.LONGEST_COMMAND:
                raise self._broken("a command set is too long")
            if control & LAST:
                try:
                    return context_id, message.decode(raw)
                except ProtocolViolation as violation:
                    raise self._broken(str(violation)) from violation

    def receive_identifier(self) -> bytes:
        """Return the data set that follows a command."""
        raw = bytearray()

        def keep(part: bytes) -> None:
            nonlocal raw
            raw += part
            if len(raw) > LONGEST_IDENTIFIER:
                raise self._broken("an identifier is too long")

        self.receive_data_set(keep)
        return bytes(raw)

    def receive_data_set(self, take: Callable[[bytes], None]) -> None:
        """Hand the fragments of the data set that follows a command to `take`."""
        while True:
            _, control, part = self._next_fragment()
            if control & COMMAND:
                raise self._broken("expected a data set")
            take(part)
            if control & LAST:
                return

    def number(self, command: Command, field: Field) -> int:
        """Return a required number of a response."""
        try:
            return command.number(field)
        except ProtocolViolation as violation:
            raise self._broken(str(violation)) from violation

    def still_alive(self) -> None:
        """Begin the timeout anew: there is other evidence that the peer works."""
        self._heard_at = time.monotonic()

    def release(self) -> None:
        """End the association in order, or cut it when the peer does not play along."""
        if not self._open:
            return
        deadline = time.monotonic() + RELEASE_SECONDS
        with suppress(PeerClosed, PeerTooSlow, ProtocolViolation):
            self._wire.send([RELEASE_RQ], RELEASE_SECONDS)
            while time.monotonic() < deadline:
                kind, _ = self._wire.read_pdu(RELEASE_SECONDS)
                if kind == PduType.RELEASE_RQ:
                    # Release collision: the requestor answers first (PS3.8 7.2.2.7).
                    self._wire.send([RELEASE_RP], RELEASE_SECONDS)
                if kind in {PduType.RELEASE_RP, PduType.ABORT}:
                    break
        self._close()

    def abort(self) -> None:
        """End the association at once."""
        if not self._open:
            return
        with suppress(PeerClosed, PeerTooSlow):
            self._wire.send([abort(AbortSource.SERVICE_USER)], 1.0)
        self._close()

    def _close(self) -> None:
        self._open = False
        self._wire.close()

    def _send(self, buffers: Sequence[bytes | memoryview]) -> None:
        self._heard_at = time.monotonic()
        try:
            self._wire.send(buffers, SEND_SECONDS)
        except PeerTooSlow as slow:
            self.abort()
            raise PeerTimeout("the node does not read what it is sent") from slow
        except PeerClosed as closed:
            self._close()
            raise self._ended("the node closed the connection") from closed

    def _next_fragment(self) -> tuple[int, int, bytes]:
        while not self._pending:
            kind, body = self._read_pdu()
            if kind != PduType.P_DATA:
                raise self._broken(f"a PDU of type {kind} has no place here")
            try:
                self._pending = [(i, c, bytes(part)) for i, c, part in pdvs(memoryview(body))]
            except ProtocolViolation as violation:
                raise self._broken(str(violation)) from violation
        return self._pending.pop(0)

    def _read_pdu(self) -> tuple[int, bytes]:
        while True:
            self.between()
            try:
                kind, body = self._wire.read_pdu(SLICE_SECONDS)
            except PeerTooSlow as slow:
                if time.monotonic() - self._heard_at > self._timeout:
                    self.abort()
                    raise PeerTimeout(f"no answer within {self._timeout:g} s") from slow
                continue
            except PeerClosed as closed:
                self._close()
                raise self._ended("the node closed the connection") from closed
            except ProtocolViolation as violation:
                raise self._broken(str(violation)) from violation
            self._heard_at = time.monotonic()
            if kind == PduType.ABORT:
                self._close()
                raise self._ended("the node aborted the association")
            self._answered = self._answered or kind == PduType.P_DATA
            if kind == PduType.RELEASE_RQ:
                with suppress(PeerClosed, PeerTooSlow):
                    self._wire.send([RELEASE_RP], 1.0)
                self._close()
                raise PeerAborted("the node released the association in the middle")
            return kind, bytes(body)

    def _ended(self, how: str) -> PeerAborted:
        return PeerAborted(how) if self._answered else PeerTurnedAway(how)

    def _broken(self, what: str) -> PeerAborted:
        self.abort()
        return PeerAborted(f"the node broke the protocol: {what}")


def associate(
    node: Node,
    calling_ae: str,
    proposals: Sequence[Proposal],
    trusts: PeerTrusts,
    *,
    roles: Mapping[str, Roles] | None = None,
    between: Callable[[], None] = lambda: None,
) -> UserAssociation:
    """Connect and associate.

    Raises:
        Unreachable | PeerTimeout | PeerAborted: it did not work, or the node is not trusted.
        PeerRefused | PeerBusy | PeerCongested: the node rejected it.
    """
    wire, addresses = connected(node, trusts)
    association = UserAssociation(wire, node, node.timeout_seconds, addresses)
    association.between = between
    try:
        association.negotiate(
            AssociateRequest(
                calling_ae=calling_ae,
                called_ae=node.ae_title,
                contexts=tuple(
                    ProposedContext(2 * position + 1, p.abstract_syntax, p.transfer_syntaxes)
                    for position, p in enumerate(proposals)
                ),
                user=UserInformation(
                    max_pdu=node.max_pdu_bytes,
                    implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                    implementation_version=IMPLEMENTATION_VERSION,
                    roles=dict(roles or {}),
                ),
            )
        )
    except BaseException:
        association.abort()
        raise
    return association
