"""C-STORE over an association of our own: objects go out as they lie (PS3.4 B).

Requests may be sent ahead of their answers, as far as the peer's asynchronous operations
window allows; a peer that grants none gets one at a time. A sender belongs to the thread that
opened it.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.message import Operation
from draw_shared.dicom.network.renditions import Rendition
from draw_shared.dicom.network.requestor import Remote, RequestorAssociation, open_association
from draw_shared.dicom.network.service import CutShort, Sendable
from draw_shared.dicom.network.statuses import is_of_encoding
from draw_shared.dicom.network.store_writer import StoreWriter
from draw_shared.errors import Permanent

MAX_OUTSTANDING: Final = 16
"""Requests sent ahead: what is in flight must fit the sockets' buffers in both directions."""

Object = TypeVar("Object")


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


class StoreSender:
    """Sends objects over one association."""

    def __init__(
        self, association: RequestorAssociation, originator: tuple[str, int] | None
    ) -> None:
        self.association = association
        self._writer = StoreWriter(
            association.send, association.accepted.user.max_pdu, originator=originator
        )

    @property
    def window(self) -> int:
        """How many C-STORE requests may be outstanding (PS3.7 D.3.3.3); 1 when not negotiated."""
        granted = self.association.accepted.user.asynchronous
        if granted is None:
            return 1
        return min(granted[0] or MAX_OUTSTANDING, MAX_OUTSTANDING)

    def takes(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        """Return whether the peer has accepted this class in this syntax."""
        return self.association.context_for(sop_class_uid, transfer_syntax_uid) is not None

    def store(self, objects: Iterable[Outgoing]) -> Iterator[Sent]:
        """Send objects and yield each with its status, in the order in which answers come.

        An object that fails for its transfer syntax is sent in the next one that it can be
        had in, and yielded once.

        Raises:
            CutShort: an object broke off in the middle; the association must be aborted.
            PeerTimeout | PeerAborted: the association is lost; what was not yielded was not
                answered.
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
        kind = outgoing.sop_class_uid, outgoing.transfer_syntax_uid
        context_id = self.association.context_for(*kind)
        if context_id is None:
            return Sent(outgoing, None, "no presentation context takes it")
        sop = outgoing.sop_class_uid, outgoing.sop_instance_uid
        try:
            message_id = self._writer.write(outgoing.data, context_id, sop)
        except CutShort:
            raise
        except Permanent as error:
            return Sent(outgoing, None, str(error))
        except OSError as error:
            # The file is read before anything is sent: the association goes on.
            return Sent(outgoing, None, f"its file cannot be read: {type(error).__name__}")
        outstanding[message_id] = outgoing
        return self._sent(outstanding) if len(outstanding) >= self.window else None

    def _sent(self, outstanding: dict[int, Outgoing]) -> Sent:
        response = self.association.response_to_any(Operation.C_STORE, outstanding)
        return Sent(outstanding.pop(response.message_id), response.status)


@contextmanager
def sending(remote: Remote, contexts: Sequence[ProposedContext]) -> Iterator[StoreSender]:
    """Yield a sender on an association of its own, which is released, or aborted by an exception.

    Raises:
        PeerTrouble | PeerRejected | PeerCongested: as `open_association` does.
    """
    window = MAX_OUTSTANDING, 1
    with open_association(remote, contexts, asynchronous=window) as association:
        yield StoreSender(association, remote.originator)


def put_last(
    left: deque[Object], kind: Callable[[Object], tuple[str, str]], classes: Container[str]
) -> None:
    """Let objects of other SOP classes go first, each in the order that they had."""
    taken: list[Object] = []
    with suppress(IndexError):
        # Other threads may take from it meanwhile.
        while True:
            taken.append(left.popleft())
    left.extend(sorted(taken, key=lambda one: kind(one)[0] in classes))
