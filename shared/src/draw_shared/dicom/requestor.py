"""The requesting side for C-ECHO and C-STORE: stored bytes go out as they lie (PS3.4 B, PS3.8 9.2).

An association belongs to the thread that opened it. C-STORE requests may be sent ahead of
their answers, as far as the peer's asynchronous operations window allows; a peer that
grants none gets one at a time.
"""

import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self

from draw_shared.dicom import message
from draw_shared.dicom.associate import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.message import NO_DATA_SET, RESPONSE, Command, Field, Operation
from draw_shared.dicom.message_reader import MessageReader
from draw_shared.dicom.pdu import (
    COMMAND,
    REJECTED_TRANSIENT,
    RELEASE_RP,
    RELEASE_RQ,
    SMALLEST_PEER_PDU,
    AbortSource,
    PduType,
    ProtocolViolation,
    abort,
    fragments,
    is_congestion,
)
from draw_shared.dicom.peer_trust import PeerTrust
from draw_shared.dicom.renditions import Rendition
from draw_shared.dicom.service import CutShort, Sendable
from draw_shared.dicom.statuses import is_of_encoding
from draw_shared.dicom.sub_store import StoreSender
from draw_shared.dicom.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.wire import PeerClosed, PeerTooSlow, Wire
from draw_shared.errors import Permanent, Transient

CONNECT_SECONDS: Final = 10.0
RELEASE_SECONDS: Final = 5.0
MOST_OUTSTANDING: Final = 16
"""Most requests sent ahead: what is in flight must fit the sockets' buffers in both directions."""
REJECT_BYTES: Final = 4


class Unreachable(Transient):
    """No connection could be made."""


class RejectedNow(Transient):
    """The peer rejected the association for now (A-ASSOCIATE-RJ, transient).

    `congestion` says that it has too much to do, and that nothing is wrong with it.
    """

    def __init__(self, words: str, *, congestion: bool) -> None:
        super().__init__(words)
        self.congestion = congestion


class Rejected(Permanent):
    """The peer rejected the association for good (A-ASSOCIATE-RJ, permanent)."""


class NotAccepted(Permanent):
    """The peer accepted no presentation context for what is to be sent."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    timeout_seconds: float = 30.0
    tls: PeerTrust | None = None
    originator: tuple[str, int] | None = None
    """AE title and message id of the C-MOVE that this serves (PS3.7 9.1.1.1)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One object to send, in one transfer syntax."""

    data: Sendable
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    others: Iterator[Rendition] = field(default_factory=lambda: iter(()))
    """What is sent instead when this cannot be had, or is refused for what it is."""
    refusal: int | None = None
    """What the peer answered when it was sent in another transfer syntax."""

    def other(self, status: int | None) -> "Outgoing | None":
        """Return the same object as the peer may take it, after this status; or None."""
        if status is not None and not is_of_encoding(status):
            return None
        rendition = next(self.others, None)
        if rendition is None:
            return None
        return replace(
            self,
            data=rendition.data,
            transfer_syntax_uid=rendition.transfer_syntax_uid,
            refusal=self.refusal if status is None else status,
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What the peer answered for one object.

    An object without a context, or that cannot be had in any, was not sent and has no status.
    """

    outgoing: Outgoing
    status: int | None
    reason: str = ""
    """Why it was not sent."""


class Requestor:
    """An open association; leaving the block releases it, by an exception aborts it."""

    def __init__(self, wire: Wire, remote: Remote, accepted: AssociateAccept) -> None:
        self._wire = wire
        self._remote = remote
        self._accepted = accepted
        self._contexts: dict[tuple[str, str], int] = {}
        self._sender = StoreSender(
            wire, accepted.user.max_pdu, remote.timeout_seconds, originator=remote.originator
        )
        self._reader = MessageReader(
            wire, dimse_seconds=remote.timeout_seconds, acse_seconds=remote.timeout_seconds
        )

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
    def window(self) -> int:
        """How many C-STORE requests may be outstanding (PS3.7 D.3.3.3); 1 when not negotiated."""
        granted = self._accepted.user.asynchronous
        if granted is None:
            return 1
        return min(granted[0] or MOST_OUTSTANDING, MOST_OUTSTANDING)

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """Return the context in which the peer takes this class in this syntax, or None."""
        return self._contexts.get((sop_class_uid, transfer_syntax_uid))

    def accept(self, proposed: Sequence[ProposedContext]) -> None:
        """Take note of which proposed contexts were accepted."""
        classes = {context.context_id: context.abstract_syntax for context in proposed}
        for result in self._accepted.results:
            if result.result == 0 and result.context_id in classes:
                key = classes[result.context_id], result.transfer_syntax
                self._contexts.setdefault(key, result.context_id)

    def echo(self) -> int:
        """Send C-ECHO and return the status.

        Raises:
            NotAccepted: the peer does not offer verification.
            ConnectionError | TimeoutError | ProtocolViolation: there was no answer.
        """
        context_id = self.context_for(VERIFICATION, IMPLICIT_LITTLE)
        if context_id is None:
            raise NotAccepted("verification was not accepted")
        request = message.encode(
            {
                Field.AFFECTED_SOP_CLASS: VERIFICATION,
                Field.COMMAND: Operation.C_ECHO,
                Field.MESSAGE_ID: 1,
                Field.DATA_SET_TYPE: NO_DATA_SET,
            }
        )
        buffers = fragments(request, context_id, COMMAND, self._accepted.user.max_pdu)
        self._wire.send([b"".join(buffers)], self._remote.timeout_seconds)
        return self._answer(Operation.C_ECHO).number(Field.STATUS)

    def store(self, objects: Iterable[Outgoing]) -> Iterator[Sent]:
        """Send objects and yield each with its status, in the order in which answers come.

        An object that fails for its transfer syntax is sent in the next one that it can be
        had in, and yielded once.

        Raises:
            CutShort: an object broke off in the middle; the association must be aborted.
            ConnectionError | TimeoutError | ProtocolViolation: the association is lost; what
                was not yielded was not answered.
        """
        again: deque[Outgoing] = deque()
        for ended in self._ended(objects, again):
            other = ended.outgoing.other(ended.status)
            if other is not None:
                again.append(other)
            elif ended.status is None:
                yield replace(ended, status=ended.outgoing.refusal)
            else:
                yield ended

    def _ended(self, objects: Iterable[Outgoing], again: deque[Outgoing]) -> Iterator[Sent]:
        """Send objects, before them what is to be sent again, and yield each as it ends."""
        outstanding: dict[int, Outgoing] = {}
        coming = iter(objects)
        try:
            while True:
                outgoing = again.popleft() if again else next(coming, None)
                if outgoing is not None:
                    ended = self._begun(outgoing, outstanding)
                elif outstanding:
                    ended = self._sent(outstanding)
                else:
                    return
                if ended is not None:
                    yield ended
        except CutShort:
            # The peer has what was sent before as a whole.
            while outstanding:
                yield self._sent(outstanding)
            raise

    def _begun(self, outgoing: Outgoing, outstanding: dict[int, Outgoing]) -> Sent | None:
        """Send one request, and return what has ended meanwhile: it or another."""
        context_id = self.context_for(outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if context_id is None:
            return Sent(outgoing, None, "no presentation context takes it")
        sop = outgoing.sop_class_uid, outgoing.sop_instance_uid
        try:
            message_id = self._sender.send(outgoing.data, context_id, sop)
        except (ConnectionError, TimeoutError, CutShort):
            raise
        except Permanent as error:
            return Sent(outgoing, None, str(error))
        except OSError as error:
            # The file is read before anything is sent: the association goes on.
            return Sent(outgoing, None, f"its file cannot be read: {type(error).__name__}")
        outstanding[message_id] = outgoing
        return self._sent(outstanding) if len(outstanding) >= self.window else None

    def _sent(self, outstanding: dict[int, Outgoing]) -> Sent:
        answer = self._answer(Operation.C_STORE)
        outgoing = outstanding.pop(answer.number(Field.RESPONDED_MESSAGE_ID), None)
        if outgoing is None:
            raise ProtocolViolation("an answer to a request that is not outstanding")
        return Sent(outgoing, answer.number(Field.STATUS))

    def _answer(self, operation: Operation) -> Command:
        _, command = self._reader.command(self._remote.timeout_seconds)
        if command.number(Field.COMMAND) != operation | RESPONSE:
            raise ProtocolViolation("an answer to something else")
        return command

    def interrupt(self) -> None:
        """End whatever wait is under way, with PeerClosed; any thread may call."""
        self._wire.interrupt()

    def release(self) -> None:
        """End the association in order; a peer that does not play along is cut off."""
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
        self._wire.close()

    def abort(self) -> None:
        """End the association at once."""
        with suppress(PeerClosed, PeerTooSlow):
            self._wire.send([abort(AbortSource.SERVICE_USER)], 1.0)
        self._wire.close()


def open_association(remote: Remote, proposed: Sequence[ProposedContext]) -> Requestor:
    """Connect and associate.

    Raises:
        Unreachable | Rejected | RejectedNow: it was not possible.
        ConnectionError | TimeoutError | ProtocolViolation: the peer broke off.
    """
    wire = Wire(_connected(remote))
    try:
        accepted = _negotiated(wire, remote, tuple(proposed))
    except BaseException:
        wire.close()
        raise
    requestor = Requestor(wire, remote, accepted)
    requestor.accept(proposed)
    return requestor


def contexts_for(objects: Iterable[tuple[str, str]]) -> tuple[ProposedContext, ...]:
    """Return one context for each different (SOP class, transfer syntax), for at most 128.

    One syntax in each: so the peer accepts an object as it is stored or not at all.
    """
    pairs = list(dict.fromkeys(objects))[:128]
    return tuple(
        ProposedContext(2 * position + 1, sop_class, (syntax,))
        for position, (sop_class, syntax) in enumerate(pairs)
    )


def _connected(remote: Remote) -> socket.socket:
    seconds = min(CONNECT_SECONDS, remote.timeout_seconds)
    try:
        connection = socket.create_connection((remote.host, remote.port), timeout=seconds)
    except OSError as error:
        raise Unreachable(f"no connection: {error.strerror or type(error).__name__}") from error
    if remote.tls is None:
        return connection
    try:
        return remote.tls.secured(connection, remote.host)
    except OSError as error:
        connection.close()
        raise Unreachable(f"no TLS: {error}") from error


def _negotiated(
    wire: Wire, remote: Remote, proposed: tuple[ProposedContext, ...]
) -> AssociateAccept:
    request = AssociateRequest(
        remote.calling_ae,
        remote.called_ae,
        proposed,
        UserInformation(
            max_pdu=16384,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION,
            asynchronous=(MOST_OUTSTANDING, 1),
        ),
    )
    wire.send([request.encode()], remote.timeout_seconds)
    kind, body = wire.read_pdu(remote.timeout_seconds)
    if kind == PduType.ASSOCIATE_RJ and len(body) == REJECT_BYTES:
        words = f"result {body[1]}, source {body[2]}, reason {body[3]}"
        if body[1] != REJECTED_TRANSIENT:
            raise Rejected(words)
        raise RejectedNow(words, congestion=is_congestion(*body[1:]))
    if kind != PduType.ASSOCIATE_AC:
        raise ProtocolViolation("expected an answer to A-ASSOCIATE-RQ")
    accepted = decode_accept(bytes(body))
    if 0 < accepted.user.max_pdu < SMALLEST_PEER_PDU:
        raise ProtocolViolation("the peer takes no PDU of useful length")
    return accepted
