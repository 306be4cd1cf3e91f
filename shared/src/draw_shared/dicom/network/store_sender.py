"""Sends objects by C-STORE over an association of our own (PS3.4 B).

Requests are sent ahead of their answers as far as the peer's asynchronous operations window
allows; a peer that grants no window gets one at a time. A sender belongs to the thread that
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
from draw_shared.wording import message

MAX_OUTSTANDING: Final = 16
"""Largest number of requests sent ahead; they must fit the socket buffers in both directions."""

Object = TypeVar("Object")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One object to send, in one transfer syntax."""

    data: Sendable
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    others: Iterator[Rendition] = field(default_factory=lambda: iter(()))
    """Alternatives to send if this rendition fails or is refused for its encoding."""
    refusal: int | None = None
    """The peer's answer to an earlier rendition."""

    def other(self, status: int | None) -> "Outgoing | None":
        """Return the next rendition that the peer may accept after this status, or None."""
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
    """The peer's answer for one object.

    An object that has no context, or cannot be had in any, was not sent and has no status.
    """

    outgoing: Outgoing
    status: int | None
    reason: str = ""
    """Why it was not sent."""
    unread: bool = False
    """Whether that is because its file cannot be read now."""


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
        """The number of outstanding C-STORE requests (PS3.7 D.3.3.3); 1 if none was negotiated."""
        granted = self.association.accepted.user.asynchronous
        if granted is None:
            return 1
        return min(granted[0] or MAX_OUTSTANDING, MAX_OUTSTANDING)

    def takes(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        """Return whether the peer has accepted this class in this syntax."""
        return self.association.context_for(sop_class_uid, transfer_syntax_uid) is not None

    def store(self, objects: Iterable[Outgoing]) -> Iterator[Sent]:
        """Send objects and yield each with its status, in the order of the answers.

        An object that fails because of its transfer syntax is sent again in the next possible one,
        and yielded once.

        Raises:
            CutShort: an object broke off in the middle; the association must be aborted.
            PeerTimeout | PeerAborted: the association is lost; objects not yielded were not
                answered.
        """
        again: deque[Outgoing] = deque()
        for ended in self._send_all(objects, again):
            other = None if ended.unread else ended.outgoing.other(ended.status)
            if other is not None:
                again.append(other)
            elif ended.status is None and not ended.unread:
                yield replace(ended, status=ended.outgoing.refusal)
            else:
                yield ended

    def _send_all(self, objects: Iterable[Outgoing], again: deque[Outgoing]) -> Iterator[Sent]:
        """Send objects, those in `again` first, and yield each when it has ended."""
        outstanding: dict[int, Outgoing] = {}
        coming = iter(objects)
        try:
            while True:
                outgoing = again.popleft() if again else next(coming, None)
                if outgoing is not None:
                    ended = self._begin(outgoing, outstanding)
                elif outstanding:
                    ended = self._receive_answer(outstanding)
                else:
                    return
                if ended is not None:
                    yield ended
        except CutShort:
            # The peer has received the earlier objects completely.
            while outstanding:
                yield self._receive_answer(outstanding)
            raise

    def _begin(self, outgoing: Outgoing, outstanding: dict[int, Outgoing]) -> Sent | None:
        """Send one request, and return an object that has ended by now: this one or another."""
        kind = outgoing.sop_class_uid, outgoing.transfer_syntax_uid
        context_id = self.association.context_for(*kind)
        if context_id is None:
            return Sent(outgoing, None, message("no presentation context takes it"))
        sop = outgoing.sop_class_uid, outgoing.sop_instance_uid
        try:
            message_id = self._writer.write(outgoing.data, context_id, sop)
        except CutShort:
            raise
        except Permanent as error:
            return Sent(outgoing, None, str(error))
        except OSError as error:
            # The file is read before anything is sent, so the association can continue.
            return Sent(
                outgoing,
                None,
                message("its file cannot be read: %(error)s", error=type(error).__name__),
                unread=True,
            )
        outstanding[message_id] = outgoing
        return self._receive_answer(outstanding) if len(outstanding) >= self.window else None

    def _receive_answer(self, outstanding: dict[int, Outgoing]) -> Sent:
        response = self.association.response_to_any(Operation.C_STORE, outstanding)
        return Sent(outstanding.pop(response.message_id), response.status)


@contextmanager
def open_sender(remote: Remote, contexts: Sequence[ProposedContext]) -> Iterator[StoreSender]:
    """Yield a sender on its own association, which is released, or aborted on an exception.

    Raises:
        PeerTrouble | PeerRejected | PeerCongested: as `open_association` does.
    """
    window = MAX_OUTSTANDING, 1
    with open_association(remote, contexts, asynchronous=window) as association:
        yield StoreSender(association, remote.originator)


def put_last(
    left: deque[Object], kind: Callable[[Object], tuple[str, str]], classes: Container[str]
) -> None:
    """Move objects of these SOP classes to the end; the order is otherwise kept."""
    taken: list[Object] = []
    with suppress(IndexError):
        # Other threads may take objects from it at the same time.
        while True:
            taken.append(left.popleft())
    left.extend(sorted(taken, key=lambda one: kind(one)[0] in classes))
