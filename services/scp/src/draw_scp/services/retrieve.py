"""C-GET and C-MOVE: finds what is asked for and sends it, object by object.

Every object ends as completed, warning or failed; what cannot be read, or what the peer
takes in no transfer syntax that it can be had in, is a failed sub-operation and never an
end of the operation (PS3.4 C.4.2.1, C.4.3.1).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from draw_scp.models import Delivered, Destination, Order, StoredInstance, SubOperation
from draw_shared.dicom.answers import failed_list
from draw_shared.dicom.query import Selection
from draw_shared.dicom.service import (
    QueryRequest,
    Refused,
    RetrieveEnd,
    SameAssociation,
    Sendable,
    SubOperations,
)
from draw_shared.dicom.statuses import Status, is_warning
from draw_shared.dicom.uids import UNCOMPRESSED
from draw_shared.errors import Permanent

PROGRESS_SECONDS: Final = 0.25
PROGRESS_OBJECTS: Final = 50
"""A pending response is due after this time or number of sub-operations, what comes first."""

Step = SubOperations | RetrieveEnd


class Catalogue(Protocol):
    """The index."""

    def instances(self, selection: Selection) -> list[StoredInstance]:
        """Return what is to be sent."""

    def destination(self, ae_title: str) -> Destination | None:
        """Return the active remote node with this AE title, or None."""


class Objects(Protocol):
    """The stored objects."""

    def stored(self, instance: StoredInstance) -> Sendable:
        """Return the object as it lies; Permanent if it cannot be read."""

    def transcoded(self, instance: StoredInstance, transfer_syntax_uid: str) -> bytes:
        """Return its data set in an uncompressed transfer syntax; Permanent if it cannot be had."""


class Delivery(Protocol):
    """Objects on their way to a destination."""

    def results(self) -> Iterator[Delivered | None]:
        """Yield what became of each object as it does, and None now and then meanwhile."""

    def cancel(self) -> None:
        """Begin no further object; `results` ends with those that are under way."""


class SubAssociations(Protocol):
    """Sends to other peers."""

    def delivering(
        self, destination: Destination, order: Order, instances: Sequence[StoredInstance]
    ) -> AbstractContextManager[Delivery]:
        """Begin; nothing is under way any more when the block is left."""


@dataclass(slots=True)
class Tally:
    """Counts of one operation."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    _told: int = 0
    _told_at: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Sub-operations that have ended."""
        return self.completed + self.warning + len(self.failed)

    def count(self, sop_instance_uid: str, status: int | None) -> SubOperation:
        """Take note of how one sub-operation ended; None is one that was not possible."""
        self.remaining -= 1
        if status == Status.SUCCESS:
            self.completed += 1
            return SubOperation.COMPLETED
        if status is not None and is_warning(status):
            self.warning += 1
            return SubOperation.WARNING
        self.failed.append(sop_instance_uid)
        return SubOperation.FAILED

    def due(self) -> bool:
        """Return whether the peer should be told how far it is."""
        now = time.monotonic()
        if now - self._told_at < PROGRESS_SECONDS and self.done - self._told < PROGRESS_OBJECTS:
            return False
        self._told, self._told_at = self.done, now
        return self.remaining > 0

    def counts(self) -> SubOperations:
        """Return the counts of a response."""
        # The fields are unsigned shorts.
        numbers = (self.remaining, self.completed, len(self.failed), self.warning)
        return SubOperations(*(min(number, 0xFFFF) for number in numbers))

    def end(self, transfer_syntax_uid: str, *, cancelled: bool, reason: str = "") -> RetrieveEnd:
        """Return the final response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if cancelled:
            status = Status.CANCELLED
        elif self.failed and not self.completed and not self.warning:
            status = Status.UNABLE_TO_PERFORM_SUB_OPERATIONS
        elif self.failed or self.warning:
            status = Status.SUB_OPERATIONS_WITH_FAILURES
        else:
            status = Status.SUCCESS
        identifier = failed_list(self.failed, transfer_syntax_uid)
        comment = reason or (f"{len(self.failed)} objects failed" if self.failed else "")
        return RetrieveEnd(status, self.counts(), identifier, comment)


class Retrievals:
    """Performs C-GET and C-MOVE.

    Args:
        parallel: associations that are opened to one destination, at most.
        counted: takes note of the operation (`c-get`, `c-move`) and the end of each object.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        objects: Objects,
        sub_associations: SubAssociations,
        parallel: Callable[[], int],
        counted: Callable[[str, SubOperation], None],
    ) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._sub_associations = sub_associations
        self._parallel = parallel
        self._counted = counted

    def get(
        self,
        request: QueryRequest,
        selection: Selection,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
    ) -> Iterator[Step]:
        """Yield progress and at last the end.

        Raises:
            Transient: the index does not answer; nothing was sent.
        """
        instances = self._catalogue.instances(selection)
        tally = Tally(len(instances))
        stopped = False
        ready = _Ready(instances, lambda instance: self._to_send(instance, channel))
        while (one := ready.take()) is not None:
            stopped = cancelled()
            if stopped:
                break
            status = _sent_back(one, channel, ready.look_ahead)
            ended = tally.count(one.instance.sop_instance_uid, status)
            self._counted("c-get", ended)
            if tally.due():
                yield tally.counts()
        yield tally.end(request.context.transfer_syntax, cancelled=stopped)

    def move(
        self,
        request: QueryRequest,
        selection: Selection,
        originator_ae: str,
        cancelled: Callable[[], bool],
    ) -> Iterator[Step]:
        """Yield progress and at last the end.

        Raises:
            Refused: the move destination is none of the configured nodes.
            Transient: the index does not answer; nothing was sent.
        """
        destination = self._catalogue.destination(request.move_destination)
        if destination is None:
            raise Refused(Status.MOVE_DESTINATION_UNKNOWN, "unknown move destination")
        instances = self._catalogue.instances(selection)
        tally = Tally(len(instances))
        order = Order(originator_ae, request.message_id, self._parallel())
        stopped, reason = False, ""
        with self._sub_associations.delivering(destination, order, instances) as delivery:
            for one in delivery.results():
                if one is not None:
                    ended = tally.count(one.sop_instance_uid, one.status)
                    self._counted("c-move", ended)
                    reason = one.reason or reason
                if not stopped and tally.remaining and cancelled():
                    stopped = True
                    delivery.cancel()
                if tally.due():
                    yield tally.counts()
        yield tally.end(request.context.transfer_syntax, cancelled=stopped, reason=reason)

    def _to_send(
        self, instance: StoredInstance, channel: SameAssociation
    ) -> tuple[Sendable, int] | None:
        """Return an object as the peer takes it, with its context; None if it takes it nowise."""
        sop_class = instance.sop_class_uid
        context_id = channel.context_for(sop_class, instance.transfer_syntax_uid)
        try:
            if context_id is not None:
                return self._objects.stored(instance), context_id
            for syntax in UNCOMPRESSED:
                context_id = channel.context_for(sop_class, syntax)
                if context_id is not None:
                    return self._objects.transcoded(instance, syntax), context_id
        except Permanent:
            return None
        return None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One object, and what of it is sent in which context; None is that it cannot be."""

    instance: StoredInstance
    sending: tuple[Sendable, int] | None


class _Ready:
    """Makes objects ready to be sent, one ahead: the next while the peer takes the last."""

    def __init__(
        self,
        instances: Sequence[StoredInstance],
        to_send: Callable[[StoredInstance], tuple[Sendable, int] | None],
    ) -> None:
        self._waiting = iter(instances)
        self._to_send = to_send
        self._next: _Prepared | None = None

    def look_ahead(self) -> None:
        """Make the next object ready, if there is one and it is not ready yet."""
        if self._next is None:
            instance = next(self._waiting, None)
            if instance is not None:
                self._next = _Prepared(instance, self._to_send(instance))

    def take(self) -> _Prepared | None:
        """Return the next object, or None after the last."""
        self.look_ahead()
        found, self._next = self._next, None
        return found


def _sent_back(
    one: _Prepared, channel: SameAssociation, meanwhile: Callable[[], None]
) -> int | None:
    """Send one object on the association of the C-GET and return the peer's status."""
    if one.sending is None:
        return None
    sop = one.instance.sop_class_uid, one.instance.sop_instance_uid
    try:
        return channel.store(*one.sending, sop, meanwhile)
    except (ConnectionError, TimeoutError):
        raise
    except OSError:
        # The file is read before anything is sent: the association goes on.
        return None
