"""Sub-associations of C-MOVE: objects sent to a destination by one or several threads.

Each thread has an association of its own and takes the next object from a shared queue
until none is left, so a slow association holds up nothing but itself. What a thread has
sent without an answer when its association breaks is failed; what was not begun is left to
the others, and failed only when no thread is left. Objects that need more than 128
presentation contexts are sent in groups, on one association after the other.
"""

import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from draw_scp.adapters.object_files import ObjectFiles
from draw_scp.models import Delivered, Destination, Order, StoredInstance
from draw_shared.dicom.associate import ProposedContext
from draw_shared.dicom.message_reader import ReleasedByPeer
from draw_shared.dicom.pdu import ProtocolViolation
from draw_shared.dicom.requestor import (
    Outgoing,
    Rejected,
    RejectedNow,
    Remote,
    Requestor,
    Unreachable,
    open_association,
)
from draw_shared.dicom.tls import TlsUnusable
from draw_shared.dicom.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, UNCOMPRESSED
from draw_shared.errors import Permanent

log = structlog.get_logger()

MOST_CONTEXTS: Final = 128
TICK_SECONDS: Final = 0.25
STOP_SECONDS: Final = 10.0
"""How long a sub-operation that is under way may go on after the operation has ended."""

_BROKEN: Final = (
    TlsUnusable,
    Unreachable,
    Rejected,
    RejectedNow,
    ProtocolViolation,
    ReleasedByPeer,
    ConnectionError,
    TimeoutError,
)
_REASONS: Final[dict[type[BaseException], str]] = {
    TlsUnusable: "certificates for TLS destinations cannot be used",
    Unreachable: "the destination cannot be reached",
    Rejected: "the destination rejected the association",
    RejectedNow: "the destination rejected the association for now",
    TimeoutError: "the destination does not answer in time",
}

Contexts = dict[str, list[str]]
"""Transfer syntaxes that are proposed for each SOP class, each in a context of its own."""


class SubAssociations:
    """Sends objects to destinations.

    Args:
        own_ae: our AE title, for destinations that want no other.
        tls: makes the context for destinations that speak TLS.
    """

    def __init__(
        self, files: ObjectFiles, own_ae: Callable[[], str], tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self._files = files
        self._own_ae = own_ae
        self._tls = tls

    @contextmanager
    def delivering(
        self, destination: Destination, order: Order, instances: Sequence[StoredInstance]
    ) -> Iterator["SubAssociationDelivery"]:
        """Begin; leaving the block ends the associations after the sub-operations under way."""

        def remote() -> Remote:
            return Remote(
                destination.host,
                destination.port,
                destination.ae_title,
                destination.calling_ae or self._own_ae(),
                destination.timeout_seconds,
                self._tls() if destination.tls else None,
                (order.originator_ae, order.message_id),
            )

        delivery = SubAssociationDelivery(self._files, remote, groups(instances))
        delivery.start(min(order.parallel, destination.max_associations, len(instances)))
        try:
            yield delivery
        finally:
            delivery.stop()


class SubAssociationDelivery:
    """One operation's threads and what they share."""

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
        self._open: set[Requestor] = set()
        self._reason = ""

    def start(self, number: int) -> None:
        """Begin with so many associations."""
        self._threads = [
            threading.Thread(target=self._run, name=f"sub-association-{n}", daemon=True)
            for n in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Delivered | None]:
        """Yield what becomes of each object; None when nothing has for a while."""
        running = len(self._threads)
        while running:
            try:
                found = self._results.get(timeout=TICK_SECONDS)
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

    def cancel(self) -> None:
        """Begin no further object; `results` ends with those that are under way."""
        self._stop_by = time.monotonic() + STOP_SECONDS
        self._stopping.set()

    def stop(self) -> None:
        """Return when no thread works any more."""
        self.cancel()
        for thread in self._threads:
            thread.join(max(0.0, self._stop_by - time.monotonic()))
        self._interrupt()
        for thread in self._threads:
            thread.join()

    def _interrupt(self) -> None:
        for association in tuple(self._open):
            association.interrupt()

    def _run(self) -> None:
        try:
            for contexts, left in self._waiting:
                if left and not self._stopping.is_set():
                    self._send(contexts, left)
        except _BROKEN as error:
            self._reason = _reason(error)
            log.warning("move.association_failed", reason=self._reason, error=type(error).__name__)
        except Exception:
            self._reason = "internal failure"
            log.exception("move.failed")
        finally:
            self._results.put(None)

    def _send(self, contexts: Contexts, left: deque[StoredInstance]) -> None:
        taken: dict[str, StoredInstance] = {}
        try:
            with open_association(self._remote(), _proposed(contexts)) as association:
                self._open.add(association)
                try:
                    for sent in association.store(self._outgoing(association, left, taken)):
                        self._answered(sent.outgoing.sop_instance_uid, sent.status, taken)
                finally:
                    self._open.discard(association)
        finally:
            for uid in tuple(taken):
                self._answered(uid, None, taken)

    def _outgoing(
        self, association: Requestor, left: deque[StoredInstance], taken: dict[str, StoredInstance]
    ) -> Iterator[Outgoing]:
        """Take objects as they can be sent, until none is left."""
        while not self._stopping.is_set():
            try:
                instance = left.popleft()
            except IndexError:
                return
            taken[instance.sop_instance_uid] = instance
            try:
                outgoing = self._as_taken(association, instance)
            except Permanent as error:
                log.warning(
                    "move.object_failed",
                    sop_instance_uid=instance.sop_instance_uid,
                    error=type(error).__name__,
                )
                outgoing = None
            if outgoing is None:
                self._answered(instance.sop_instance_uid, None, taken)
            else:
                yield outgoing

    def _as_taken(self, association: Requestor, instance: StoredInstance) -> Outgoing | None:
        """Return an object in a transfer syntax that the destination takes, or None."""
        sop_class, uid = instance.sop_class_uid, instance.sop_instance_uid
        stored = instance.transfer_syntax_uid
        if association.context_for(sop_class, stored) is not None:
            return Outgoing(self._files.stored(instance), sop_class, uid, stored)
        for syntax in UNCOMPRESSED:
            if association.context_for(sop_class, syntax) is not None:
                data = self._files.transcoded(instance, syntax)
                return Outgoing(data, sop_class, uid, syntax)
        return None

    def _answered(
        self, sop_instance_uid: str, status: int | None, taken: dict[str, StoredInstance]
    ) -> None:
        del taken[sop_instance_uid]
        self._results.put(Delivered(sop_instance_uid, status))


def groups(
    instances: Sequence[StoredInstance],
) -> list[tuple[Contexts, deque[StoredInstance]]]:
    """Return the objects in groups of at most 128 contexts, with the contexts of each group."""
    by_class: dict[str, list[StoredInstance]] = {}
    for instance in instances:
        by_class.setdefault(instance.sop_class_uid, []).append(instance)
    found: list[tuple[Contexts, deque[StoredInstance]]] = []
    room = 0
    for sop_class, members in by_class.items():
        syntaxes = _syntaxes(members)
        if not found or len(syntaxes) > room:
            found.append(({}, deque()))
            room = MOST_CONTEXTS
        room -= len(syntaxes)
        found[-1][0][sop_class] = syntaxes
        found[-1][1].extend(members)
    return found


def _syntaxes(members: Sequence[StoredInstance]) -> list[str]:
    """Return the transfer syntaxes to propose: as stored, and those to fall back to."""
    stored = dict.fromkeys(instance.transfer_syntax_uid for instance in members)
    return list(stored | dict.fromkeys((EXPLICIT_LITTLE, IMPLICIT_LITTLE)))[:MOST_CONTEXTS]


def _proposed(contexts: Contexts) -> list[ProposedContext]:
    pairs = [(sop_class, one) for sop_class, syntaxes in contexts.items() for one in syntaxes]
    return [
        ProposedContext(2 * n + 1, sop_class, (syntax,))
        for n, (sop_class, syntax) in enumerate(pairs)
    ]


def _reason(error: BaseException) -> str:
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return "the destination broke off the association"
