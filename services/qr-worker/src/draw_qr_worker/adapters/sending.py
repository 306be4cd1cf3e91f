"""Sends objects to a node by C-STORE, over a few associations in sequence.

An execution that must end sends nothing new, and waits a moment for the answers to what is under
way: what the node has and nobody knows of would be sent again.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from typing_extensions import override

from draw_qr_worker.adapters.remote_node import remote_of
from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import IndexedObject, RemoteNode, StoredFileAway
from draw_qr_worker.ports.sending import Answered, StorePeers
from draw_qr_worker.ports.supervision import InterruptibleSupervision
from draw_shared.addresses import canonical
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.network.contexts import Contexts, group_by_contexts
from draw_shared.dicom.network.peer_failures import PeerAborted
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.network.renditions import renditions
from draw_shared.dicom.network.requestor import Remote
from draw_shared.dicom.network.service import CutShort, StoredDataSet
from draw_shared.dicom.network.store_sender import Outgoing, StoreSender, open_sender, put_last
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.wording import message

log = structlog.get_logger()

ANSWER_SECONDS: Final = 3.0
"""How long an execution that must end waits for answers to what it has sent."""


class _Unsendable(NamedTuple):
    """Why an object is not sent."""

    reason: str
    unread: bool = False
    """Whether that is because its file cannot be read now."""


class _Told:
    """Reports answers, and keeps what is to be tried again because its file is away."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._away: list[str] = []

    def tell(
        self, one: IndexedObject, status: int | None, reason: str, *, unread: bool = False
    ) -> None:
        """Report the answer for one object, unless its file is away."""
        if unread:
            self._away.append(reason)
        else:
            self._answered(one, status, reason)

    def raise_for_away(self) -> None:
        """Raise StoredFileAway if the file of some object was away."""
        if self._away:
            raise StoredFileAway(
                message(
                    "%(count)s are not sent; %(reason)s",
                    count=len(self._away),
                    reason=self._away[-1],
                )
            )


class StoreAssociations(StorePeers):
    """Sends objects to nodes."""

    def __init__(
        self,
        root: Path,
        own_ae: Callable[[RemoteNode], str],
        trusts: PeerTrusts,
        transcoder: Transcoder,
    ) -> None:
        self._root = root
        self._own_ae = own_ae
        self._trusts = trusts
        self._transcoder = transcoder

    @override
    def addresses(self, node: RemoteNode) -> Collection[str]:
        try:
            found = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return frozenset()
        return frozenset(canonical(str(address[0])) for *_, address in found)

    @override
    def send(
        self,
        node: RemoteNode,
        objects: Sequence[IndexedObject],
        control: InterruptibleSupervision,
        answered: Answered,
    ) -> None:
        remote = remote_of(node, self._own_ae(node), self._trusts)
        throttle = Throttle(rate_of(node), control)
        broken_off: PeerAborted | None = None
        told = _Told(answered)
        for contexts, left in group_by_contexts(objects, _kind):
            while left:
                control.check()
                try:
                    self._send_group(remote, (contexts, left), control, throttle, told)
                except PeerAborted as error:
                    # Some nodes abort on an object that they cannot accept; the others must not
                    # wait for it. Raise a plain PeerAborted: a PeerTurnedAway (no free place) would
                    # be retried without end.
                    first, broken_off = broken_off is None, PeerAborted(str(error))
                    if not first:
                        raise broken_off from error
        if broken_off is not None:
            raise broken_off
        told.raise_for_away()

    def _send_group(
        self,
        remote: Remote,
        group: tuple[Contexts, deque[IndexedObject]],
        control: InterruptibleSupervision,
        throttle: Throttle,
        told: _Told,
    ) -> None:
        """Send until no object is left, or the association breaks inside one.

        If the node breaks the association, objects whose SOP class is not among the unanswered ones
        are sent first from then on.
        """
        contexts, left = group
        taken: dict[str, IndexedObject] = {}

        def outgoing() -> Iterator[Outgoing]:
            while left and not control.ended():
                one = left.popleft()
                made = self._prepare(sender, one)
                if isinstance(made, _Unsendable):
                    told.tell(one, None, made.reason, unread=made.unread)
                    continue
                throttle.use(one.size_bytes)
                if control.ended():
                    left.appendleft(one)
                    return
                taken[one.item.sop_instance_uid] = one
                yield made

        with (
            open_sender(remote, contexts) as sender,
            _interrupted_late(control, sender.association.interrupt),
        ):
            try:
                for sent in sender.store(outgoing()):
                    one = taken.pop(sent.outgoing.sop_instance_uid)
                    told.tell(one, sent.status, sent.reason, unread=sent.unread)
            except CutShort as cut:
                # The node must not keep this object: the others need another association.
                sender.association.abort()
                told.tell(taken.pop(cut.sop_instance_uid), None, str(cut))
                left.extendleft(taken.values())
            except PeerAborted:
                put_last(left, _kind, {one.item.sop_class_uid for one in taken.values()})
                raise

    def _prepare(self, sender: StoreSender, one: IndexedObject) -> Outgoing | _Unsendable:
        """Return an object in the best transfer syntax the node accepts, or why it takes none."""
        path = self._root / one.path
        sop_class, sop_instance = one.item.sop_class_uid, one.item.sop_instance_uid

        def stored() -> StoredDataSet:
            with path.open("rb") as file:
                _, offset = part10.decode(file.read(part10.MAX_META_BYTES))
            return StoredDataSet(str(path), offset, sop_class, sop_instance)

        def takes(syntax: str) -> bool:
            return sender.takes(sop_class, syntax)

        others = renditions(path, one.transfer_syntax_uid, stored, takes, self._transcoder)
        try:
            best = next(others, None)
        except (OSError, Undecodable) as error:
            name = type(error).__name__
            log.warning("send.file_unreadable", sop_instance_uid=sop_instance, error=name)
            return _Unsendable(
                message("its file cannot be read: %(error)s", error=name),
                unread=isinstance(error, OSError),
            )
        if best is None:
            return _Unsendable(
                message(
                    "it takes this SOP class in no transfer syntax that the object can be had in"
                )
            )
        return Outgoing(best.data, sop_class, sop_instance, best.transfer_syntax_uid, others)


@contextmanager
def _interrupted_late(
    control: InterruptibleSupervision, interrupt: Callable[[], None]
) -> Iterator[None]:
    """Have what the block waits for interrupted some time after it must end."""
    timer = threading.Timer(ANSWER_SECONDS, interrupt)
    timer.daemon = True
    begun = threading.Lock()

    def begin() -> None:
        if begun.acquire(blocking=False):
            timer.start()

    control.on_end(begin)
    try:
        yield
    finally:
        control.on_end(lambda: None)
        timer.cancel()


def _kind(one: IndexedObject) -> tuple[str, str]:
    return one.item.sop_class_uid, one.transfer_syntax_uid
