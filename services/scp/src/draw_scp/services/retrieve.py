"""C-GET and C-MOVE: finds the selected objects and sends them one by one.

Each object ends as completed, warning or failed. An unreadable object, or one that cannot be had
in a transfer syntax that the peer accepts, is a failed sub-operation; the operation continues
(PS3.4 C.4.2.1, C.4.3.1).

Concurrency: a C-GET runs on the thread of its association; a C-MOVE waits on that thread while
the threads of the sub-associations send. The caller iterates the steps and sends each of them to
the peer. Nothing is stored here: when the process dies, the operation is lost and the peer asks
again; the audit trail has recorded that objects were about to leave (`DeliveryBegins`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from draw_scp.models import Delivered, DeliveryOrder, StoredInstance, SubOperation
from draw_scp.ports.retrieve import InstanceCatalogue, ObjectDeliveries, RenditionSource
from draw_shared.dicom.network.renditions import Rendition
from draw_shared.dicom.network.service import (
    CutShort,
    OperationRefused,
    QueryRequest,
    RetrieveEnd,
    SameAssociation,
    SubOperations,
)
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.network.statuses import DimseStatus, is_of_encoding, is_warning
from draw_shared.dicom.query.answers import encode_failed_list
from draw_shared.dicom.query.query import Selection
from draw_shared.errors import Permanent
from draw_shared.wording import message

log = structlog.get_logger()

PROGRESS_INTERVAL_SECONDS: Final = 0.25
PROGRESS_OBJECTS: Final = 50
"""A pending response is due after this time or this number of sub-operations."""


@dataclass(frozen=True, slots=True)
class DeliveryBegins:
    """Objects are about to leave; the consumer may still prevent it by raising."""

    leaving: Mapping[str, int]
    """Number of objects of each study, by Study Instance UID."""


Step = DeliveryBegins | SubOperations | RetrieveEnd


@dataclass(slots=True)
class SubOperationTally:
    """The sub-operation counts of one operation."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    _reported: int = 0
    _reported_at: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Number of sub-operations that have ended."""
        return self.completed + self.warning + len(self.failed)

    def count(self, sop_instance_uid: str, status: int | None) -> SubOperation:
        """Count one sub-operation by its status; None means that it could not be performed."""
        self.remaining -= 1
        if status == DimseStatus.SUCCESS:
            self.completed += 1
            return SubOperation.COMPLETED
        if status is not None and is_warning(status):
            self.warning += 1
            return SubOperation.WARNING
        self.failed.append(sop_instance_uid)
        return SubOperation.FAILED

    def due(self) -> bool:
        """Return whether the next progress report to the peer is due."""
        now = time.monotonic()
        if (
            now - self._reported_at < PROGRESS_INTERVAL_SECONDS
            and self.done - self._reported < PROGRESS_OBJECTS
        ):
            return False
        self._reported, self._reported_at = self.done, now
        return self.remaining > 0

    def counts(self) -> SubOperations:
        """Return the counts for a response."""
        # The fields are unsigned shorts.
        numbers = (self.remaining, self.completed, len(self.failed), self.warning)
        return SubOperations(*(min(number, 0xFFFF) for number in numbers))

    def end(self, transfer_syntax_uid: str, *, cancelled: bool, reason: str = "") -> RetrieveEnd:
        """Return the final response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if cancelled:
            status = DimseStatus.CANCELLED
        elif self.failed and not self.completed and not self.warning:
            status = DimseStatus.UNABLE_TO_PERFORM_SUB_OPERATIONS
        elif self.failed or self.warning:
            status = DimseStatus.SUB_OPERATIONS_WITH_FAILURES
        else:
            status = DimseStatus.SUCCESS
        identifier = encode_failed_list(self.failed, transfer_syntax_uid)
        comment = reason or (
            message("%(failed)s objects failed", failed=len(self.failed)) if self.failed else ""
        )
        return RetrieveEnd(status, self.counts(), identifier, comment)


class SubOperationService:
    """Performs C-GET and C-MOVE.

    Args:
        parallel: returns the largest number of associations to one destination.
        counted: receives the operation (`c-get`, `c-move`) and the end of each object.
    """

    def __init__(
        self,
        catalogue: InstanceCatalogue,
        objects: RenditionSource,
        sub_associations: ObjectDeliveries,
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
        by: Claimant,
    ) -> Iterator[Step]:
        """Yield what is about to leave, then progress, and finally the end.

        Raises:
            Transient: the index does not answer; nothing was sent.
        """
        instances = self._catalogue.instances(selection, by)
        if instances:
            yield _begin(instances)
        tally = SubOperationTally(len(instances))
        stopped, reason = False, ""
        ready = _LookAhead(instances, lambda instance: self._to_send(instance, channel))
        while (one := ready.take()) is not None:
            stopped = cancelled()
            if stopped:
                break
            sent = one.send_back(channel, ready.look_ahead)
            ended = tally.count(sent.sop_instance_uid, sent.status)
            self._counted("c-get", ended)
            if sent.reason:
                reason = sent.reason
                uid = sent.sop_instance_uid
                log.warning("get.object_failed", sop_instance_uid=uid, reason=reason)
            if tally.due():
                yield tally.counts()
        yield tally.end(request.context.transfer_syntax, cancelled=stopped, reason=reason)

    def move(
        self,
        request: QueryRequest,
        selection: Selection,
        by: Claimant,
        cancelled: Callable[[], bool],
    ) -> Iterator[Step]:
        """Yield what is about to leave, then progress, and finally the end.

        Raises:
            OperationRefused: the move destination is not a configured node.
            Transient: the index does not answer; nothing was sent.
        """
        destination = self._catalogue.destination(request.move_destination, by)
        if destination is None:
            raise OperationRefused(
                DimseStatus.MOVE_DESTINATION_UNKNOWN, message("unknown move destination")
            )
        instances = self._catalogue.instances(selection, by)
        if instances:
            yield _begin(instances)
        tally = SubOperationTally(len(instances))
        order = DeliveryOrder(by.ae_title, request.message_id, self._parallel())
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

    def _to_send(self, instance: StoredInstance, channel: SameAssociation) -> "_PreparedObject":
        """Return an object with its best rendition for the peer ready to send."""

        def takes(syntax: str) -> bool:
            return channel.context_for(instance.sop_class_uid, syntax) is not None

        prepared = _PreparedObject(instance, self._objects.renditions(instance, takes))
        prepared.advance()
        return prepared


def _begin(instances: Sequence[StoredInstance]) -> DeliveryBegins:
    return DeliveryBegins(Counter(instance.study_instance_uid for instance in instances))


class _PreparedObject:
    """One object on its way back to the peer, with its remaining renditions."""

    def __init__(self, instance: StoredInstance, renditions: Iterator[Rendition]) -> None:
        self.instance = instance
        self._renditions = renditions
        self._next: Rendition | None = None
        self._reason = message("no presentation context takes it")

    def advance(self) -> None:
        """Prepare the next rendition, if there is one."""
        try:
            self._next = next(self._renditions, None)
        except Permanent as error:
            self._next, self._reason = None, str(error)

    def send_back(self, channel: SameAssociation, meanwhile: Callable[[], None]) -> Delivered:
        """Send renditions in turn until the peer accepts one or none is left.

        Raises:
            CutShort: the data set broke off in the middle; the association must be aborted.
            ConnectionError | TimeoutError: the association is lost.
        """
        uid, status = self.instance.sop_instance_uid, None
        while (rendition := self._next) is not None:
            answer = self._send(rendition, channel, meanwhile)
            status = status if answer is None else answer
            if answer is not None and not is_of_encoding(answer):
                return Delivered(uid, status)
            self.advance()
        return Delivered(uid, status, self._reason if status is None else "")

    def _send(
        self, rendition: Rendition, channel: SameAssociation, meanwhile: Callable[[], None]
    ) -> int | None:
        """Send one rendition and return the peer's status, or None if it could not be sent."""
        sop = self.instance.sop_class_uid, self.instance.sop_instance_uid
        context_id = channel.context_for(sop[0], rendition.transfer_syntax_uid)
        if context_id is None:
            return None
        try:
            return channel.store(rendition.data, context_id, sop, meanwhile)
        except (ConnectionError, TimeoutError, CutShort):
            raise
        except Permanent as error:
            self._reason = str(error)
        except OSError as error:
            # The file is read before anything is sent, so the association can continue.
            self._reason = message("its file cannot be read: %(error)s", error=type(error).__name__)
        return None


class _LookAhead:
    """Prepares objects one ahead: the next one while the peer processes the current one."""

    def __init__(
        self,
        instances: Sequence[StoredInstance],
        to_send: Callable[[StoredInstance], _PreparedObject],
    ) -> None:
        self._waiting = iter(instances)
        self._to_send = to_send
        self._next: _PreparedObject | None = None

    def look_ahead(self) -> None:
        """Prepare the next object, if there is one and it is not prepared yet."""
        if self._next is None:
            instance = next(self._waiting, None)
            if instance is not None:
                self._next = self._to_send(instance)

    def take(self) -> _PreparedObject | None:
        """Return the next object, or None after the last."""
        self.look_ahead()
        found, self._next = self._next, None
        return found
