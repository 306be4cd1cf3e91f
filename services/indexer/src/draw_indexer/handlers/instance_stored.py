"""Handles announcements from the broker: acknowledges a batch once it is committed.

A message that can never be indexed goes to the dead letters alone, with a reason. If a file is not
visible yet, its message is retried later. If the database does not answer, the whole batch waits.

Concurrency: each consumer has one thread with its own InstanceStored and header reader, so batches
are read in parallel; IndexingService lets them write in turn. If the process dies, nothing is lost:
the broker delivers the unacknowledged batch again, and indexing it twice gives the same rows.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import ValidationError

from draw_indexer.metrics import IndexerMetrics
from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    FileMissing,
    Header,
    HostileFile,
    MalformedMessage,
    OtherObject,
    ReaderTooSlow,
    Unreadable,
    Whereabouts,
    inside,
)
from draw_indexer.ports.headers import HeaderSource
from draw_indexer.services.indexing import IndexingService
from draw_shared.contracts.instance import (
    InstanceStoredV2,
    instance_event_id,
    instance_stored,
)
from draw_shared.messaging.consumer import Delivery, Failure
from draw_shared.runtime import logging
from draw_shared.storage.places import Unopened
from draw_shared.wording import message

log = structlog.get_logger()

EVENTS_PER_LINE: Final = 200
"""Log drivers cut lines of more than 16 KiB."""
INCOMPLETE: Final = "Incomplete"
REASONS: Final = (
    *(
        failure.__name__
        for failure in (FileMissing, ReaderTooSlow, HostileFile, Unreadable, OtherObject)
    ),
    INCOMPLETE,
)
"""The reasons in the metric of headers that were not read, or not completely."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnouncedMessage:
    """One message and the object that it announces."""

    delivery: Delivery
    stored: AnnouncedObject

    @property
    def words(self) -> dict[str, str]:
        """The fields that identify it in the log."""
        return {
            "sop_instance_uid": self.stored.sop_instance_uid,
            "event_id": self.stored.event_id,
            "association_id": self.stored.association_id,
        }


Lost = tuple[AnnouncedMessage, Exception]
"""An object that is not indexed, and why."""


class InstanceStored:
    """Handles `instance.stored.v1`; belongs to one consumer's thread."""

    def __init__(
        self,
        reader: HeaderSource,
        opened: Callable[[InstanceStoredV2], str],
        indexing: IndexingService,
        metrics: IndexerMetrics,
        log_received: Callable[[], bool] = lambda: True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        indexed: Callable[[Iterable[bytes]], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._opened = opened
        self._indexing = indexing
        self._metrics = metrics
        self._log_received = log_received
        self._now = now
        self._indexed = indexed

    def on_instances_stored(self, batch: Sequence[Delivery]) -> Sequence[Failure]:
        """Index the batch; return the messages that failed.

        Raises:
            Transient: the database does not answer; the broker delivers the batch again.
        """
        announced: list[AnnouncedMessage] = []
        failures: list[Failure] = []
        for delivery in batch:
            try:
                announced.append(
                    AnnouncedMessage(delivery, read_announcement(delivery.body, self._opened))
                )
            except (MalformedMessage, FileMissing) as error:
                failures.append(Failure(delivery, error))
        lost, moved = self._sort_out_lost(self._index_readable(announced))
        if moved:
            lost += self._index_readable(moved)
        for announcement, reason in lost:
            log.warning(
                "instance.not_read",
                **announcement.words,
                error=type(reason).__name__,
                reason=str(reason),
            )
            failures.append(Failure(announcement.delivery, reason))
        return failures

    def _index_readable(self, announced: Sequence[AnnouncedMessage]) -> list[Lost]:
        """Index the readable objects; return the others with the reason."""
        began = time.perf_counter()
        lost: list[Lost] = []
        arrivals: list[Arrival] = []
        headers = self._reader.read([each.stored.path for each in announced])
        for each, header in zip(announced, headers, strict=True):
            try:
                arrivals.append(Arrival(each.stored, self._check_header(each.stored, header)))
            except Exception as error:  # noqa: BLE001 - whatever the reader gave: it is this message's
                lost.append((each, error))
        read = time.perf_counter()
        if arrivals:
            missing = {id(stored) for stored in self._index(arrivals)}
            went = FileMissing(message("the file disappeared before its turn came"))
            lost += [(each, went) for each in announced if id(each.stored) in missing]
            left = {id(each) for each, _ in lost}
            self._indexed(each.delivery.body for each in announced if id(each) not in left)
        self._metrics.seconds.labels("read").observe(read - began)
        self._metrics.seconds.labels("write").observe(time.perf_counter() - read)
        return lost

    def _sort_out_lost(self, lost: Sequence[Lost]) -> tuple[list[Lost], list[AnnouncedMessage]]:
        """Return the messages that fail, and those whose file is now under another path.

        Copies and deleted objects whose file was removed are neither.
        """
        gone = {id(each): each.stored for each, error in lost if _may_be_removed(each, error)}
        known = dict(zip(gone, self._indexing.look_up(list(gone.values())), strict=True))
        failed: list[Lost] = []
        moved: list[AnnouncedMessage] = []
        for each, error in lost:
            found = known.get(id(each), Whereabouts())
            if not found.needed:
                log.info("instance.file_not_needed", **each.words)
            elif found.path:
                moved.append(AnnouncedMessage(each.delivery, replace(each.stored, path=found.path)))
            elif found.returning:
                failed.append(
                    (each, FileMissing(message("its file is being removed or comes back")))
                )
            else:
                failed.append((each, error))
        return failed, moved

    def _check_header(self, stored: AnnouncedObject, header: Header | Exception) -> Header:
        """Return the header if it belongs to the announced object.

        Raises:
            Transient: the file cannot be read now.
            Permanent: the file will never be readable, or belongs to another object.
        """
        if isinstance(header, Exception):
            self._metrics.read_failures.labels(type(header).__name__).inc()
            raise header
        found = header.image.get("SOPInstanceUID", stored.sop_instance_uid)
        if found != stored.sop_instance_uid:
            self._metrics.read_failures.labels(OtherObject.__name__).inc()
            raise OtherObject(message("the file holds another SOP instance than was announced"))
        if not header.complete:
            self._metrics.read_failures.labels(INCOMPLETE).inc()
        for flaw in header.flaws:
            self._metrics.damaged_headers.labels(flaw.lower()).inc()
        if header.damage:
            log.warning(
                "instance.header_damaged",
                sop_instance_uid=stored.sop_instance_uid,
                event_id=stored.event_id,
                association_id=stored.association_id,
                reason=header.damage,
            )
        return header

    def _index(self, arrivals: Sequence[Arrival]) -> Sequence[AnnouncedObject]:
        """Index the arrivals; return those whose file is gone."""
        written = self._indexing.index(arrivals)
        self._metrics.count_batch(
            fresh=written.fresh,
            unchanged=written.unchanged,
            conflicts=written.conflicts,
            deleted=len(written.deleted),
            ambiguous=len(written.ambiguous),
            rows=written.rows,
        )
        now = self._now()
        for arrival in arrivals:
            if arrival.stored.reread:
                continue
            self._metrics.observe_lag(max(0.0, (now - arrival.stored.received_at).total_seconds()))
        for conflict in written.recorded:
            log.warning(
                "instance.conflict",
                sop_instance_uid=conflict.sop_instance_uid,
                event_id=str(instance_event_id(conflict.sop_instance_uid, conflict.content_sha256)),
                reason=conflict.reason,
            )
        for uid in written.ambiguous:
            log.warning("patient.ambiguous", study_instance_uid=uid)
        for stored in written.deleted:
            log.info(
                "instance.deleted_before",
                sop_instance_uid=stored.sop_instance_uid,
                event_id=stored.event_id,
            )
        if self._log_received() and logging.is_written("DEBUG"):
            left = {id(stored) for stored in (*written.deleted, *written.missing)}
            _log_indexed([arrival for arrival in arrivals if id(arrival.stored) not in left])
        return written.missing


def _may_be_removed(announcement: AnnouncedMessage, error: Exception) -> bool:
    """Return whether a removal may explain the failure; a missing file is retried once before."""
    missing = isinstance(error, FileMissing) and announcement.delivery.attempt > 0
    return missing or isinstance(error, OtherObject)


def _log_indexed(arrivals: Sequence[Arrival]) -> None:
    """Log the objects of each association in one line: thousands arrive per second."""
    events: defaultdict[str, list[str]] = defaultdict(list)
    for arrival in arrivals:
        events[arrival.stored.association_id].append(arrival.stored.event_id)
    for association_id, event_ids in events.items():
        for first in range(0, len(event_ids), EVENTS_PER_LINE):
            named = event_ids[first : first + EVENTS_PER_LINE]
            log.debug(
                "instances.indexed",
                association_id=association_id,
                event_ids=named,
                objects=len(named),
            )


def read_announcement(body: bytes, opened: Callable[[InstanceStoredV2], str]) -> AnnouncedObject:
    """Return the object that a message announces.

    Raises:
        MalformedMessage: the message is invalid.
        FileMissing: the sealed path of the object cannot be opened, or not yet.
    """
    try:
        event = instance_stored(body)
    except ValidationError as error:
        # The error's text would quote the message.
        raise MalformedMessage(
            message("%(number)s fields are wrong or missing", number=error.error_count())
        ) from None
    try:
        path = opened(event) if isinstance(event, InstanceStoredV2) else event.path
    except Unopened as error:
        raise FileMissing(str(error)) from error
    return AnnouncedObject(
        sop_instance_uid=event.sop_instance_uid,
        sop_class_uid=event.sop_class_uid,
        series_instance_uid=event.series_instance_uid,
        study_instance_uid=event.study_instance_uid,
        transfer_syntax_uid=event.transfer_syntax_uid,
        path=inside(path),
        size_bytes=event.size_bytes,
        content_sha256=event.content_sha256,
        received_at=event.occurred_at.astimezone(UTC),
        event_id=str(event.event_id),
        association_id=event.association_id,
        association_ordinal=event.association_ordinal,
        calling_ae=event.calling_ae,
        peer_address=event.peer_address,
        move_originator_ae=event.move_originator_ae or "",
        reread=event.reread,
        dated_ns=event.dated_ns,
    )
