"""The requesting side of one association, used by the thread that opened it (PS3.8 9.2, PS3.7).

Every wait is bounded: a peer that stays silent for the timeout, makes no progress or breaks the
protocol is aborted, and the caller gets one of the failures in `peer_failures`. With a `between`
hook, every wait is divided into short ones, and the hook runs between them; it may cancel a
request or raise. So a job can be cancelled, or lose its lease, while a peer is silent, and no
second thread is needed. Only `interrupt` may be called by another thread.

Associations share nothing and run in parallel, one thread each. When the connection breaks,
requests without an answer are lost; the caller decides whether to repeat them.
"""

import socket
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from draw_shared import wording
from draw_shared.connection_words import why_not_connected
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.encoding.uids import VERIFICATION
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    Roles,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.network.message import (
    DATA_SET,
    NO_DATA_SET,
    RESPONSE,
    CommandElement,
    CommandSet,
    Operation,
)
from draw_shared.dicom.network.message_reader import AbortedByPeer, MessageReader, ReleasedByPeer
from draw_shared.dicom.network.pdu import (
    COMMAND,
    MIN_PEER_PDU_BYTES,
    RELEASE_RP,
    RELEASE_RQ,
    AbortSource,
    OtherProtocol,
    PduType,
    ProtocolViolation,
    abort,
    fragments,
)
from draw_shared.dicom.network.peer_failures import (
    NotSupported,
    PeerAborted,
    PeerBrokeProtocol,
    PeerTimeout,
    PeerTurnedAway,
    Unreachable,
    rejection,
)
from draw_shared.dicom.network.peer_trust import NotTrusted, PeerTrust
from draw_shared.dicom.network.service import PresentationContext
from draw_shared.dicom.network.wire import PeerClosed, PeerTooSlow, Wire

CONNECT_TIMEOUT_SECONDS: Final = 10.0
RELEASE_TIMEOUT_SECONDS: Final = 5.0
ABORT_TIMEOUT_SECONDS: Final = 1.0
HOOK_INTERVAL_SECONDS: Final = 0.25
REJECT_BYTES: Final = 4
MAX_ANSWER_IDENTIFIER_BYTES: Final = 4 * 1024 * 1024
"""Longest identifier of an answer. It exceeds that of a request: a list of failed instances holds
up to 65,535 UIDs of 64 characters, and it comes from a peer that we chose, on few associations."""


class ConnectionStage(StrEnum):
    """A stage on the way to an association."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    ASSOCIATION = "association"


Reached = Callable[[ConnectionStage, str], None]
"""Is told each stage when it is reached, with its detail in words."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The peer to call, and how to call it."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    timeout_seconds: float = 30.0
    tls: PeerTrust | None = None
    originator: tuple[str, int] | None = None
    """AE title and message id of the C-MOVE that caused this (PS3.7 9.1.1.1)."""
    max_pdu_bytes: int = 16384
    """Longest P-DATA PDU that we announce to accept."""

    @property
    def address(self) -> str:
        """Host and port in words."""
        return f"{self.host}:{self.port}"


Serve = Callable[[PresentationContext, CommandSet], None]
"""Answers a request from the peer on our association."""


class Addresses(NamedTuple):
    """Both ends of a connection."""

    peer: str
    local: str


class SentRequest(NamedTuple):
    """A request that was sent, and is perhaps not answered yet."""

    operation: Operation
    message_id: int
    context_id: int


class Response(NamedTuple):
    """An answer to one of our requests."""

    message_id: int
    status: int
    command: CommandSet
    identifier: bytes


class RequestorAssociation:
    """An association with a peer; leaving the block releases it, an exception aborts it."""

    def __init__(self, wire: Wire, remote: Remote, between: Callable[[], None] | None) -> None:
        self._wire = wire
        self._remote = remote
        self._waiting_since = 0.0
        self._message_id = 0
        self._open = True
        self._answered = False
        self._by_kind: dict[tuple[str, str], int] = {}
        self._reader = MessageReader(
            wire,
            dimse_seconds=remote.timeout_seconds,
            acse_seconds=ABORT_TIMEOUT_SECONDS,
            read_pdu=self._read_pdu,
        )
        self.addresses = Addresses("", "")
        self.between = between
        self.contexts: Mapping[int, PresentationContext] = {}
        self.accepted = AssociateAccept("", "", (), UserInformation())

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

    def context(self, abstract_syntax: str) -> PresentationContext:
        """Return the accepted context of a SOP class.

        Raises:
            NotSupported: the peer accepted none.
        """
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        raise NotSupported(wording.message("the node accepts the association but not this service"))

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """Return the context in which the peer accepts this class in this syntax, or None."""
        return self._by_kind.get((sop_class_uid, transfer_syntax_uid))

    def negotiate(self, request: AssociateRequest) -> None:
        """Request the association.

        Raises:
            PeerRejected | PeerBusy | PeerCongested: the peer rejected it.
            PeerTimeout | PeerAborted: the peer did not answer.
        """
        self.send([request.encode()])
        with self._failures():
            kind, body = self._read_pdu(self._remote.timeout_seconds)
            if kind == PduType.ASSOCIATE_RJ and len(body) == REJECT_BYTES:
                self._close()
                raise rejection(*body[1:])
            if kind == PduType.ABORT:
                raise AbortedByPeer
            if kind != PduType.ASSOCIATE_AC:
                raise ProtocolViolation(wording.message("expected an answer to A-ASSOCIATE-RQ"))
            self._accept(decode_accept(bytes(body)), request.contexts)

    def _accept(self, accepted: AssociateAccept, proposed: Sequence[ProposedContext]) -> None:
        """Record which of the proposed contexts were accepted."""
        if 0 < accepted.user.max_pdu < MIN_PEER_PDU_BYTES:
            raise ProtocolViolation(wording.message("the peer takes no PDU of useful length"))
        offered = {context.context_id: context for context in proposed}
        self.accepted = accepted
        self.contexts = {
            one.context_id: PresentationContext(
                one.context_id, offered[one.context_id].abstract_syntax, one.transfer_syntax
            )
            for one in accepted.results
            if one.result == 0
            and one.context_id in offered
            and one.transfer_syntax in offered[one.context_id].transfer_syntaxes
        }
        for context in self.contexts.values():
            kind = context.abstract_syntax, context.transfer_syntax
            self._by_kind.setdefault(kind, context.context_id)

    def request(
        self,
        operation: Operation,
        context: PresentationContext,
        *,
        identifier: bytes | None = None,
        move_destination: str = "",
    ) -> SentRequest:
        """Send a request and return it."""
        self._message_id = self._message_id % message.MAX_MESSAGE_ID + 1
        fields: dict[CommandElement, int | str | bytes] = {
            CommandElement.AFFECTED_SOP_CLASS: context.abstract_syntax,
            CommandElement.COMMAND: operation,
            CommandElement.MESSAGE_ID: self._message_id,
            CommandElement.DATA_SET_TYPE: NO_DATA_SET if identifier is None else DATA_SET,
        }
        if identifier is not None:
            fields[CommandElement.PRIORITY] = 0
        if move_destination:
            # Padded here: a title with a dot and a digit would be padded like a UID.
            fields[CommandElement.MOVE_DESTINATION] = move_destination.encode("ascii").ljust(16)
        self.send_command(fields, context.context_id, identifier)
        return SentRequest(operation, self._message_id, context.context_id)

    def send_command(
        self,
        fields: dict[CommandElement, int | str | bytes],
        context_id: int,
        data_set: bytes | None = None,
    ) -> None:
        """Send one message."""
        limit = self.accepted.user.max_pdu
        buffers = fragments(message.encode(fields), context_id, COMMAND, limit)
        if data_set is not None:
            buffers += fragments(data_set, context_id, 0, limit)
        self.send(buffers)

    def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Send whole PDUs.

        Raises:
            PeerTimeout: the peer does not read.
            PeerAborted: the connection ended.
        """
        with self._failures():
            try:
                self._wire.send(buffers, self._remote.timeout_seconds)
            except PeerTooSlow as slow:
                raise PeerTooSlow(
                    wording.message("the node does not read what it is sent")
                ) from slow

    def cancel(self, request: SentRequest) -> None:
        """Send C-CANCEL; the peer may ignore it (PS3.7 9.3.2.3)."""
        fields: dict[CommandElement, int | str | bytes] = {
            CommandElement.COMMAND: Operation.C_CANCEL,
            CommandElement.RESPONDED_MESSAGE_ID: request.message_id,
            CommandElement.DATA_SET_TYPE: NO_DATA_SET,
        }
        self.send_command(fields, request.context_id)

    def response(
        self,
        request: SentRequest,
        serve: Serve | None = None,
    ) -> Response:
        """Return the next answer to a request; requests from the peer go to `serve` until then.

        Raises:
            PeerTimeout | PeerAborted: no answer came.
        """
        return self.response_to_any(request.operation, (request.message_id,), serve)

    def response_to_any(
        self,
        operation: Operation,
        message_ids: Container[int],
        serve: Serve | None = None,
    ) -> Response:
        """Return the next answer to any of several requests, as `response` does for one."""
        with self._failures():
            context, command = self._receive()
            found = command.number(CommandElement.COMMAND)
            while serve is not None and not found & RESPONSE:
                serve(context, command)
                context, command = self._receive()
                found = command.number(CommandElement.COMMAND)
            message_id = command.number(CommandElement.RESPONDED_MESSAGE_ID, 0)
            if found != operation | RESPONSE or message_id not in message_ids:
                raise ProtocolViolation(wording.message("an answer to something else"))
            identifier = b""
            # Some peers omit the element if no data set follows.
            if command.number(CommandElement.DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET:
                identifier = self._reader.identifier(
                    context.context_id, MAX_ANSWER_IDENTIFIER_BYTES
                )
            return Response(message_id, command.number(CommandElement.STATUS), command, identifier)

    def _receive(self) -> tuple[PresentationContext, CommandSet]:
        context_id, command = self._reader.command(self._remote.timeout_seconds)
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation(wording.message("this presentation context was not accepted"))
        return context, command

    def data_set(self, context_id: int, take: Callable[[memoryview], None], limit: int) -> None:
        """Pass each fragment of the data set that follows a request to `take`.

        Raises:
            PeerTimeout | PeerAborted: it was not completed, or is longer than `limit`.
        """
        with self._failures():
            self._reader.data_set(context_id, take, limit)

    def echo(self) -> int:
        """Send C-ECHO and return the status.

        Raises:
            NotSupported: the peer does not offer verification.
            PeerTimeout | PeerAborted: there was no answer.
        """
        return self.response(self.request(Operation.C_ECHO, self.context(VERIFICATION))).status

    def still_alive(self) -> None:
        """Restart the timeout: something else shows that the peer works."""
        self._waiting_since = time.monotonic()

    def interrupt(self) -> None:
        """End the current wait as if the peer had closed; any thread may call this."""
        self._wire.interrupt()

    def release(self) -> None:
        """End the association in order, or close the connection if the peer does not cooperate."""
        if not self._open:
            return
        deadline = time.monotonic() + RELEASE_TIMEOUT_SECONDS
        with suppress(PeerClosed, PeerTooSlow, ProtocolViolation):
            self._wire.send([RELEASE_RQ], RELEASE_TIMEOUT_SECONDS)
            while time.monotonic() < deadline:
                kind, _ = self._wire.read_pdu(RELEASE_TIMEOUT_SECONDS, whole_by=deadline)
                if kind == PduType.RELEASE_RQ:
                    # Release collision: the requestor answers first (PS3.8 7.2.2.7).
                    self._wire.send([RELEASE_RP], RELEASE_TIMEOUT_SECONDS)
                if kind in {PduType.RELEASE_RP, PduType.ABORT}:
                    break
        self._close()

    def abort(self) -> None:
        """End the association at once."""
        if not self._open:
            return
        with suppress(PeerClosed, PeerTooSlow):
            self._wire.send([abort(AbortSource.SERVICE_USER)], ABORT_TIMEOUT_SECONDS)
        self._close()

    def _close(self) -> None:
        self._open = False
        self._wire.close()

    def _read_pdu(
        self, idle_seconds: float, *, whole_by: float | None = None
    ) -> tuple[int, memoryview]:
        """Return the next PDU, and run the hook until it comes."""
        self._waiting_since = time.monotonic()
        try:
            if self.between is None:
                kind, body = self._wire.read_pdu(idle_seconds, whole_by=whole_by)
            else:
                kind, body = self._read_in_slices(self.between, idle_seconds, whole_by)
        except PeerTooSlow as slow:
            begun = whole_by is not None or self._wire.holds
            words = wording.message("an answer was not complete in time")
            raise PeerTooSlow(
                words
                if begun
                else wording.message(
                    "no answer within %(idle_seconds)s s", idle_seconds=format(idle_seconds, "g")
                )
            ) from slow
        self._answered = self._answered or kind == PduType.P_DATA
        return kind, body

    def _read_in_slices(
        self, between: Callable[[], None], idle_seconds: float, whole_by: float | None
    ) -> tuple[int, memoryview]:
        while True:
            between()
            slice_ends = time.monotonic() + HOOK_INTERVAL_SECONDS
            latest = min(slice_ends, whole_by or slice_ends)
            try:
                return self._wire.read_pdu(HOOK_INTERVAL_SECONDS, whole_by=latest)
            except PeerTooSlow:
                if latest < slice_ends or slice_ends > self._waiting_since + idle_seconds:
                    raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn a failure of the peer into its exception, and end the association."""
        try:
            yield
        except PeerTooSlow as slow:
            self.abort()
            raise PeerTimeout(str(slow)) from slow
        except PeerClosed as closed:
            self._close()
            raise self._end_failure(wording.message("the node closed the connection")) from closed
        except AbortedByPeer as aborted:
            self._close()
            raise self._end_failure(
                wording.message("the node aborted the association")
            ) from aborted
        except ReleasedByPeer as released:
            self._close()
            raise PeerAborted(
                wording.message("the node released the association in the middle")
            ) from released
        except OtherProtocol as other:
            self.abort()
            raise PeerBrokeProtocol(str(other)) from other
        except ProtocolViolation as violation:
            self.abort()
            raise PeerBrokeProtocol(
                wording.message("the node broke the protocol: %(violation)s", violation=violation)
            ) from violation

    def _end_failure(self, how: str) -> PeerAborted:
        return PeerAborted(how) if self._answered else PeerTurnedAway(how)


def open_association(
    remote: Remote,
    proposed: Sequence[ProposedContext],
    *,
    roles: Mapping[str, Roles] | None = None,
    asynchronous: tuple[int, int] | None = None,
    between: Callable[[], None] | None = None,
    reached: Reached | None = None,
) -> RequestorAssociation:
    """Connect and associate.

    `asynchronous` is the proposed window of outstanding operations, invoked and performed (PS3.7
    D.3.3.3). `between` runs repeatedly during every wait for the peer. `reached` is told each stage
    on the way; the name is then resolved on its own first.

    Raises:
        Unreachable | PeerTimeout | PeerAborted: it failed, or the peer is not trusted.
        PeerRejected | PeerBusy | PeerCongested: the peer rejected it.
    """
    connection = _connect(remote, reached)
    association = RequestorAssociation(Wire(connection), remote, between)
    association.addresses = Addresses(_host(connection.getpeername), _host(connection.getsockname))
    user = UserInformation(
        max_pdu=remote.max_pdu_bytes,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        asynchronous=asynchronous,
        roles=dict(roles or {}),
    )
    try:
        association.negotiate(
            AssociateRequest(remote.calling_ae, remote.called_ae, tuple(proposed), user)
        )
    except BaseException:
        association.abort()
        raise
    if reached is not None:
        reached(ConnectionStage.ASSOCIATION, "")
    return association


def _connect(remote: Remote, reached: Reached | None) -> socket.socket:
    seconds = min(CONNECT_TIMEOUT_SECONDS, remote.timeout_seconds)
    try:
        if reached is not None:
            reached(ConnectionStage.DNS, ", ".join(_resolve(remote)))
        connection = socket.create_connection((remote.host, remote.port), timeout=seconds)
    except OSError as error:
        raise Unreachable(
            wording.message(
                "no connection to %(address)s: %(words)s",
                address=remote.address,
                words=why_not_connected(error),
            )
        ) from error
    if reached is not None:
        reached(ConnectionStage.TCP, _host(connection.getpeername))
    if remote.tls is None:
        return connection
    try:
        secured = remote.tls.secure(connection, remote.host)
    except NotTrusted as error:
        raise NotTrusted(error.why, error.certificate, remote.address) from error
    except OSError as error:
        raise Unreachable(
            wording.message(
                "no TLS with %(address)s: %(error)s", address=remote.address, error=error
            )
        ) from error
    finally:
        # Closes nothing that is in use: TLS has taken the descriptor over.
        connection.close()
    if reached is not None:
        reached(ConnectionStage.TLS, secured.version() or "")
    return secured


def _resolve(remote: Remote) -> Sequence[str]:
    found = socket.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _host(name: Callable[[], tuple[str, int]]) -> str:
    try:
        return name()[0]
    except OSError:
        return ""
