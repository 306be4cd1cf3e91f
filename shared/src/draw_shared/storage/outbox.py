"""Announces durable objects; the spool folder is the outbox.

Concurrency: receiving threads call `announce`, which only appends to a deque. One thread works in
batches: it publishes, collects the broker's confirms, records the confirmed events
(`AnnouncedRecords`), makes the final names durable and removes the spool entries. Confirms arrive
on the publisher's thread, which only appends them to a second deque.

A crash loses nothing, because the spool entry of an object stays until its record is on disk. The
outbox announces entries that it finds at the start, or in the folder of a dead replica, from the
files alone. Every object is announced at least once; after a crash it may be announced twice.

Memory is bounded: while the broker is away, the outbox holds at most `MAX_HELD` objects and later
finds the others in the folder. A message carries the path of its object only in sealed form,
because the path may name a patient; the records, which stay on the volume, carry it in clear.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from draw_shared.contracts.envelope import Message
from draw_shared.contracts.identifiers import MAX_AE_TITLE_LENGTH
from draw_shared.contracts.instance import InstanceStoredV1, instance_event_id
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.storage import spool
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import ObjectStore, Stored
from draw_shared.storage.places import Places
from draw_shared.storage.reception import (
    ASSOCIATION_KEY,
    ORDINAL_KEY,
    ORIGINATOR_AE_KEY,
    ORIGINATOR_MESSAGE_KEY,
    REPLICA_KEY,
)

log = structlog.get_logger()

MAX_HELD: Final = 10_000
MAX_IN_FLIGHT: Final = 2_000
RECOVERED_AT_ONCE: Final = 500
POLL_INTERVAL_SECONDS: Final = 0.1
RESTART_DELAY_SECONDS: Final = 1.0
RETRY_DELAY_SECONDS: Final = 5.0
UPKEEP_INTERVAL_SECONDS: Final = 5.0
UNKNOWN_AE: Final = "UNKNOWN"
DAMAGED: Final = ".damaged"
"""Suffix of unreadable spool entries; they stay for an operator to inspect."""


class EventPublisher(Protocol):
    """Publishes messages to the broker."""

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""

    def publish(self, message: Message, on_confirm: Callable[[bool], None]) -> None:
        """Hand a message over; `on_confirm` is called once, later, on another thread."""


class _SentFile(NamedTuple):
    """One object on its way to the broker."""

    stored: Stored
    event: InstanceStoredV1


class SpoolOutbox:
    """Announces the objects in one replica's spool folder."""

    name = "outbox"

    def __init__(
        self,
        objects: ObjectStore,
        publisher: EventPublisher,
        layout: Callable[[], Layout],
        announced: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._objects = objects
        self._publisher = publisher
        self._layout = layout
        self._announced = announced
        self._arrived: deque[Stored] = deque()
        self._records = AnnouncedRecords(objects.root)
        self._places = Places(objects.root)
        self._confirmed: deque[tuple[_SentFile, bool]] = deque()
        self._unrecorded: list[_SentFile] = []
        """Confirmed by the broker but not recorded yet; their spool entries stay."""
        self._record_at = 0.0
        self._known: set[str] = set()
        """Entries that are held, in flight or refused; `_find` skips them."""
        self._refused: deque[tuple[float, Stored]] = deque()
        self._in_flight = 0
        self._more_on_disk = True
        self._next_upkeep = 0.0
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def to_send(self) -> int:
        """How many objects wait in memory to be published."""
        return len(self._arrived)

    def look(self) -> None:
        """Search the folder again, because it has entries that nobody handed over."""
        self._more_on_disk = True

    def announce(self, stored: Stored) -> None:
        """Queue a durable object for announcement; never waits for the broker."""
        if stored.entry in self._known:
            return
        if self._more_on_disk or len(self._arrived) >= MAX_HELD:
            # The entry stays in the folder; `_find` picks it up later.
            self._more_on_disk = True
            return
        self._known.add(stored.entry)
        self._arrived.append(stored)
        if len(self._known) == 1:
            # Only the first object wakes the thread; the next ones go together after its pause.
            self._woken.set()

    def start(self) -> None:
        """Start the thread; it begins with the entries that lie in the folder."""
        number, _ = spool.backlog(self._objects.spool)
        if number:
            log.info("outbox.recovering", unannounced=number)
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Announce the held objects if the broker is connected; the rest stays on disk."""
        deadline = time.monotonic() + deadline_seconds
        while self._publisher.connected and self._known and time.monotonic() < deadline - 1:
            time.sleep(0.02)
        self._stopping.set()
        self._woken.set()
        self._thread.join(max(0.1, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            busy = False
            try:
                busy = self._turn()
            except Exception:
                # The entries are on disk, so a second pass over them loses nothing.
                log.exception("outbox.failed")
                self._stopping.wait(RESTART_DELAY_SECONDS)
            self._woken.wait(
                POLL_INTERVAL_SECONDS if busy or self._known else POLL_INTERVAL_SECONDS * 2
            )
            self._woken.clear()

    def _turn(self) -> bool:
        """Do the work that is due and return whether there was any."""
        released = self._release()
        sent = self._send() if self._publisher.connected else 0
        now = time.monotonic()
        if now >= self._next_upkeep:
            self._next_upkeep = now + UPKEEP_INTERVAL_SECONDS
            self._upkeep()
        return bool(released or sent)

    def _upkeep(self) -> None:
        self._objects.beat()
        if spool.take_over(self._objects.spool):
            log.info("outbox.took_over")
            self._more_on_disk = True

    def _release(self) -> int:
        self._sort_answers()
        done = self._record()
        if done:
            try:
                self._objects.release(done)
            finally:
                # After a failure the entries are still there, and `_find` finds them again.
                self._in_flight -= len(done)
                self._known.difference_update(stored.entry for stored in done)
                self._more_on_disk = self._more_on_disk or Path(done[-1].entry).exists()
            self._announced(len(done))
        return len(done)

    def _sort_answers(self) -> None:
        for _ in range(len(self._confirmed)):
            sent, good = self._confirmed.popleft()
            if good:
                self._unrecorded.append(sent)
            else:
                self._in_flight -= 1
                self._refused.append((time.monotonic() + RETRY_DELAY_SECONDS, sent.stored))

    def _record(self) -> list[Stored]:
        """Record the confirmed objects and return those whose spool entries may go.

        A full disk must not stop all announcements, because the clean-up that would make room
        waits for them. At `MAX_IN_FLIGHT` objects the outbox therefore goes on without a record.
        """
        if not self._unrecorded or time.monotonic() < self._record_at:
            return []
        try:
            self._records.keep([sent.event for sent in self._unrecorded], self._objects.spool)
        except OSError as error:
            self._record_at = time.monotonic() + RETRY_DELAY_SECONDS
            given_up = self._in_flight >= MAX_IN_FLIGHT
            log.error(  # noqa: TRY400 - a full disk needs no traceback
                "outbox.not_recorded",
                objects=len(self._unrecorded),
                error=str(error.strerror),
                given_up=given_up,
            )
            if not given_up:
                return []
        done = [sent.stored for sent in self._unrecorded]
        self._unrecorded = []
        return done

    def _send(self) -> int:
        # Without a key this raises, and every entry stays in the folder.
        self._places.make()
        number = 0
        while self._in_flight < MAX_IN_FLIGHT and (stored := self._next()) is not None:
            if not self._objects.relink(stored):
                # `_find` found it and it was announced before the receiver handed it over.
                self._known.discard(stored.entry)
                continue
            self._in_flight += 1
            sent = _SentFile(stored, event_of(stored))
            self._publisher.publish(self._places.seal(sent.event), self._on_confirm(sent))
            number += 1
        return number

    def _on_confirm(self, sent: _SentFile) -> Callable[[bool], None]:
        def confirmed(good: bool) -> None:  # noqa: FBT001 - the publisher's callback
            self._confirmed.append((sent, good))

        return confirmed

    def _next(self) -> Stored | None:
        if self._refused and self._refused[0][0] <= time.monotonic():
            return self._refused.popleft()[1]
        if len(self._refused) >= MAX_IN_FLIGHT:
            return None
        if not self._arrived and self._more_on_disk:
            self._find()
        return self._arrived.popleft() if self._arrived else None

    def _find(self) -> None:
        """Queue the entries that are not known yet; everything is read from their files."""
        # Reset before the search: a thread that stores meanwhile sets the flag again or is seen.
        self._more_on_disk = False
        found = [e for e in spool.entries(self._objects.spool) if e not in self._known]
        for entry in found[:RECOVERED_AT_ONCE]:
            self._recover(entry)
        if len(found) > RECOVERED_AT_ONCE:
            self._more_on_disk = True

    def _recover(self, entry: str) -> None:
        try:
            stored = self._objects.recover(entry, self._layout())
            event_of(stored)
        except FileNotFoundError:
            return
        except (Undecodable, ValueError):
            log.exception("outbox.damaged", entry=os.path.basename(entry))  # noqa: PTH119 - a name
            Path(entry).rename(f"{entry}{DAMAGED}")
            return
        self._known.add(entry)
        self._arrived.append(stored)


def event_of(stored: Stored) -> InstanceStoredV1:
    """Return the announcement of an object, built from its file meta group and path."""
    meta, identity = stored.meta, stored.identity
    provenance = meta.provenance
    originator = provenance.get(ORIGINATOR_MESSAGE_KEY)
    ordinal = provenance.get(ORDINAL_KEY)
    return InstanceStoredV1(
        event_id=instance_event_id(meta.sop_instance_uid, stored.content_sha256),
        occurred_at=stored.received_at,
        association_id=str(provenance.get(ASSOCIATION_KEY, "")),
        association_ordinal=ordinal if isinstance(ordinal, int) else None,
        replica=str(provenance.get(REPLICA_KEY, "")),
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        path=stored.path,
        size_bytes=stored.size_bytes,
        content_sha256=stored.content_sha256,
        dated_ns=stored.dated_ns,
        calling_ae=ae_title(meta.sending_ae),
        called_ae=ae_title(meta.receiving_ae),
        peer_address=meta.sending_address,
        move_originator_ae=ae_title(str(provenance[ORIGINATOR_AE_KEY]))
        if ORIGINATOR_AE_KEY in provenance
        else None,
        move_originator_message_id=originator if isinstance(originator, int) else None,
    )


def ae_title(text: str) -> str:
    """Return an AE title that an event may carry; some peers send invalid ones (PS3.5 6.2)."""
    kept = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return kept[:MAX_AE_TITLE_LENGTH].strip() or UNKNOWN_AE
