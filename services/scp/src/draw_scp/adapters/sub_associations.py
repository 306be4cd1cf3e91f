"""Sub-associations of C-MOVE: one or several threads send objects to a destination.

Each thread has its own association and takes the next object from a shared queue until it is
empty, so a slow association delays nothing but itself. When an association breaks, the objects
sent on it without an answer are failed. The rest is sent on a new association if the destination
broke it off (some do that for an object they cannot take); otherwise the other threads send it,
and it fails only when none is left. An object that breaks off in the middle ends the association
as well, so that the destination never stores it. Objects that need more than 128 presentation
contexts are sent in groups, on one association after the other.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from typing_extensions import override

from draw_scp.adapters.object_files import ObjectFiles
from draw_scp.models import Delivered, DeliveryOrder, Destination, StoredInstance
from draw_scp.ports.retrieve import ObjectDeliveries, ObjectDelivery
from draw_shared.dicom.network.contexts import Contexts, group_by_contexts
from draw_shared.dicom.network.peer_failures import (
    PeerAborted,
    PeerBrokeProtocol,
    PeerBusy,
    PeerCongested,
    PeerRejected,
    PeerTimeout,
    PeerTrouble,
    Unreachable,
)
from draw_shared.dicom.network.peer_trust import NotTrusted, PeerTrusts
from draw_shared.dicom.network.requestor import Remote
from draw_shared.dicom.network.service import CutShort
from draw_shared.dicom.network.store_sender import Outgoing, StoreSender, open_sender, put_last
from draw_shared.dicom.network.tls import TlsUnusable
from draw_shared.errors import Permanent
from draw_shared.wording import message

log = structlog.get_logger()

POLL_INTERVAL_SECONDS: Final = 0.25
STOP_TIMEOUT_SECONDS: Final = 10.0
"""How long a running sub-operation may continue after the operation has ended."""

_BROKEN: Final = (TlsUnusable, PeerTrouble, PeerRejected, PeerCongested)
MAX_FRUITLESS_ASSOCIATIONS: Final = 3
"""Consecutive associations that break off without any answer before the rest fails."""
_REASONS: Final[dict[type[BaseException], str]] = {
    Unreachable: message("the destination cannot be reached"),
    PeerRejected: message("the destination rejected the association"),
    PeerBusy: message("the destination rejected the association for now"),
    PeerCongested: message("the destination rejected the association for now"),
    PeerTimeout: message("the destination does not answer in time"),
}


class SubAssociations(ObjectDeliveries):
    """Sends objects to destinations.

    Args:
        own_ae: our AE title, for destinations that have no other configured.
        trusts: how destinations with TLS are trusted.
    """

    def __init__(self, files: ObjectFiles, own_ae: Callable[[], str], trusts: PeerTrusts) -> None:
        self._files = files
        self._own_ae = own_ae
        self._trusts = trusts

    @override
    @contextmanager
    def delivering(
        self, destination: Destination, order: DeliveryOrder, instances: Sequence[StoredInstance]
    ) -> Iterator["SubAssociationDelivery"]:

        def remote() -> Remote:
            return Remote(
                destination.host,
                destination.port,
                destination.ae_title,
                destination.calling_ae or self._own_ae(),
                destination.timeout_seconds,
                self._trusts.of(destination.tls_fingerprint) if destination.tls else None,
                (order.originator_ae, order.message_id),
            )

        groups = group_by_contexts(instances, _kind)
        delivery = SubAssociationDelivery(self._files, remote, groups)
        delivery.start(min(order.parallel, destination.max_associations, len(instances)))
        try:
            yield delivery
        finally:
            delivery.stop()


class SubAssociationDelivery(ObjectDelivery):
    """The threads of one operation and their shared state."""

    def __init__(
        self,
        files: ObjectFiles,
        remote: Callable[[], Remote],
        waiting: Sequence[tuple[Contexts, deque[StoredInstance]]],
    ) -> None:
        self._files = files
        self._remote = remote
        self._waiting = waiting
        self._results: queue.SimpleQueue[Delivered | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stop_by = float("inf")
        self._threads: list[threading.Thread] = []
        self._open: set[StoreSender] = set()
        self._reason = ""

    def start(self, number: int) -> None:
        """Start this number of threads."""
        self._threads = [
            threading.Thread(target=self._run, name=f"sub-association-{n}", daemon=True)
            for n in range(number)
        ]
        for thread in self._threads:
            thread.start()

    @override
    def results(self) -> Iterator[Delivered | None]:
        running = len(self._threads)
        while running:
            try:
                found = self._results.get(timeout=POLL_INTERVAL_SECONDS)
            except queue.Empty:
                if time.monotonic() > self._stop_by:
                    self._interrupt()
                yield None
                continue
            if found is None:
                running -= 1
            else:
                yield found
        for _, left in () if self._stopping.is_set() else self._waiting:
            for instance in left:
                yield Delivered(instance.sop_instance_uid, None, self._reason)

    @override
    def cancel(self) -> None:
        self._stop_by = time.monotonic() + STOP_TIMEOUT_SECONDS
        self._stopping.set()

    def stop(self) -> None:
        """Return when all threads have ended."""
        self.cancel()
        for thread in self._threads:
            thread.join(max(0.0, self._stop_by - time.monotonic()))
        self._interrupt()
        for thread in self._threads:
            thread.join()

    def _interrupt(self) -> None:
        for sender in tuple(self._open):
            sender.association.interrupt()

    def _run(self) -> None:
        try:
            for contexts, left in self._waiting:
                self._send_all(contexts, left)
        except _BROKEN as error:
            self._reason = _reason(error)
            log.warning("move.association_failed", reason=self._reason, error=type(error).__name__)
        except Exception:
            self._reason = message("internal failure")
            log.exception("move.failed")
        finally:
            self._results.put(None)

    def _send_all(self, contexts: Contexts, left: deque[StoredInstance]) -> None:
        """Send the queue, on a new association whenever the destination breaks one off."""
        fruitless = 0
        while left and not self._stopping.is_set() and fruitless < MAX_FRUITLESS_ASSOCIATIONS:
            try:
                self._send(contexts, left)
            except _BrokenOff as broken:
                fruitless = 0 if broken.answered else fruitless + 1
                put_last(left, _kind, broken.owed)

    def _send(self, contexts: Contexts, left: deque[StoredInstance]) -> None:
        """Send the queue on one association.

        Raises:
            _BrokenOff: the destination broke it off; unanswered objects are failed.
        """
        taken: dict[str, StoredInstance] = {}
        answered = 0
        try:
            with open_sender(self._remote(), contexts) as sender:
                self._open.add(sender)
                try:
                    for sent in sender.store(self._outgoing(sender, left, taken)):
                        uid = sent.outgoing.sop_instance_uid
                        answered += 1
                        self._record_answer(uid, sent.status, taken, sent.reason)
                finally:
                    self._open.discard(sender)
        except CutShort as cut:
            self._record_answer(cut.sop_instance_uid, None, taken, str(cut))
        except PeerBrokeProtocol:
            raise
        except PeerAborted as error:
            # Some peers answer objects they cannot take like this; they may take the next one.
            self._reason = _reason(error)
            log.warning("move.association_failed", reason=self._reason, error=type(error).__name__)
            owed = frozenset(instance.sop_class_uid for instance in taken.values())
            raise _BrokenOff(answered, owed) from error
        finally:
            for uid in tuple(taken):
                self._record_answer(uid, None, taken, self._reason)

    def _outgoing(
        self, sender: StoreSender, left: deque[StoredInstance], taken: dict[str, StoredInstance]
    ) -> Iterator[Outgoing]:
        """Yield objects from the queue, ready to send, until it is empty."""
        while not self._stopping.is_set():
            try:
                instance = left.popleft()
            except IndexError:
                return
            taken[instance.sop_instance_uid] = instance
            try:
                outgoing = self._prepare(sender, instance)
            except Permanent as error:
                self._record_answer(instance.sop_instance_uid, None, taken, str(error))
            else:
                yield outgoing

    def _prepare(self, sender: StoreSender, instance: StoredInstance) -> Outgoing:
        """Return an object in the best transfer syntax that the destination accepts."""
        sop_class, uid = instance.sop_class_uid, instance.sop_instance_uid

        def takes(syntax: str) -> bool:
            return sender.takes(sop_class, syntax)

        others = self._files.renditions(instance, takes)
        best = next(others, None)
        if best is None:
            raise NotTaken(
                message("the destination takes it in no transfer syntax that it can be had in")
            )
        return Outgoing(best.data, sop_class, uid, best.transfer_syntax_uid, others)

    def _record_answer(
        self,
        sop_instance_uid: str,
        status: int | None,
        taken: dict[str, StoredInstance],
        reason: str = "",
    ) -> None:
        del taken[sop_instance_uid]
        if reason:
            log.warning("move.object_failed", sop_instance_uid=sop_instance_uid, reason=reason)
        self._results.put(Delivered(sop_instance_uid, status, reason))


class _BrokenOff(Exception):
    """The destination broke off an association on which it had answered for some objects."""

    def __init__(self, answered: int, owed: frozenset[str]) -> None:
        super().__init__(answered)
        self.answered = answered
        self.owed = owed
        """SOP classes of the objects that were not answered."""


class NotTaken(Permanent):
    """The object cannot be had in any transfer syntax that the destination accepts."""


def _kind(instance: StoredInstance) -> tuple[str, str]:
    return instance.sop_class_uid, instance.transfer_syntax_uid


def _reason(error: BaseException) -> str:
    if isinstance(error, NotTrusted):
        return message("the destination is not trusted: %(why)s", why=error.why)
    if isinstance(error, TlsUnusable):
        return message("TLS destinations cannot be called: %(error)s", error=error)
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return message("the destination broke off the association")
