"""Sends objects to a node by C-STORE, over a few associations in sequence."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from typing_extensions import override

from draw_qr_worker.adapters.remote_node import remote_of
from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import IndexedObject, RemoteNode
from draw_qr_worker.ports.sending import Answered, StorePeers
from draw_qr_worker.ports.supervision import InterruptibleSupervision
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
        for contexts, left in group_by_contexts(objects, _kind):
            while left:
                control.check()
                try:
                    self._send_group(remote, (contexts, left), control, throttle, answered)
                except PeerAborted as error:
                    # Some nodes abort on an object that they cannot accept; the others must not
                    # wait for it. Raise a plain PeerAborted: a PeerTurnedAway (no free place) would
                    # be retried without end.
                    first, broken_off = broken_off is None, PeerAborted(str(error))
                    if not first:
                        raise broken_off from error
        if broken_off is not None:
            raise broken_off

    def _send_group(
        self,
        remote: Remote,
        group: tuple[Contexts, deque[IndexedObject]],
        control: InterruptibleSupervision,
        throttle: Throttle,
        answered: Answered,
    ) -> None:
        """Send until no object is left, or the association breaks inside one.

        If the node breaks the association, objects whose SOP class is not among the unanswered ones
        are sent first from then on.
        """
        contexts, left = group
        taken: dict[str, IndexedObject] = {}

        def outgoing() -> Iterator[Outgoing]:
            while left:
                control.check()
                one = left.popleft()
                made = self._prepare(sender, one)
                if isinstance(made, str):
                    answered(one, None, made)
                    continue
                taken[one.item.sop_instance_uid] = one
                throttle.use(one.size_bytes)
                yield made

        with open_sender(remote, contexts) as sender:
            control.on_end(sender.association.interrupt)
            try:
                for sent in sender.store(outgoing()):
                    one = taken.pop(sent.outgoing.sop_instance_uid)
                    answered(one, sent.status, sent.reason)
            except CutShort as cut:
                # The node must not keep this object: the others need another association.
                sender.association.abort()
                answered(taken.pop(cut.sop_instance_uid), None, str(cut))
                left.extendleft(taken.values())
            except PeerAborted:
                put_last(left, _kind, {one.item.sop_class_uid for one in taken.values()})
                raise
            control.on_end(lambda: None)

    def _prepare(self, sender: StoreSender, one: IndexedObject) -> Outgoing | str:
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
            log.warning(
                "send.file_unreadable", sop_instance_uid=sop_instance, error=type(error).__name__
            )
            return message("its file cannot be read: %(error)s", error=type(error).__name__)
        if best is None:
            return message(
                "it takes this SOP class in no transfer syntax that the object can be had in"
            )
        return Outgoing(best.data, sop_class, sop_instance, best.transfer_syntax_uid, others)


def _kind(one: IndexedObject) -> tuple[str, str]:
    return one.item.sop_class_uid, one.transfer_syntax_uid
