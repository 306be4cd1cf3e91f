"""Announces durable objects; the spool folder is the outbox.

Concurrency: receiving threads hand over what they stored and go on; one thread publishes,
waits for the broker's confirms, records what was confirmed (`AnnouncedRecords`), makes the
final names durable and removes the spool entries, in batches. Messages do not say where objects
lie, which may name a patient; records, which are on the volume itself, do. Memory is bounded:
while the broker is away only so many objects are held, the others are found in the folder again.
What lies there at the start, or in the folder of a dead replica, is announced from the file alone.
An object may be announced twice after a crash, and is announced at least once.
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
"""Suffix of spool entries that cannot be read; kept for people to look at."""


class EventPublisher(Protocol):
    """The way to the broker."""

    @property
    def connected(self) -> bool:
        """Whether messages can leave now."""

    def publish(self, message: Message, on_confirm: Callable[[bool], None]) -> None:
        """Hand a message over; `on_confirm` is called once, later, on another thread."""


class _SentFile(NamedTuple):
    """One object on its way to the broker."""

    stored: Stored
    event: InstanceStoredV1


class SpoolOutbox:
    """Announces what lies in one replica's spool folder."""

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
        """Confirmed, and not on record yet; their entries stay."""
        self._record_at = 0.0
        self._known: set[str] = set()
        """Entries that are held, in flight or refused: not to be found again."""
        self._refused: deque[tuple[float, Stored]] = deque()
        self._in_flight = 0
        self._more_on_disk = True
        self._next_upkeep = 0.0
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def to_send(self) -> int:
        """How many objects were handed over and are not on their way to the broker."""
        return len(self._arrived)

    def look(self) -> None:
        """Look into the folder again: there are entries that nobody has handed over."""
        self._more_on_disk = True

    def announce(self, stored: Stored) -> None:
        """Take note of a durable object; never waits for the broker."""
        if stored.entry in self._known:
            return
        if self._more_on_disk or len(self._arrived) >= MAX_HELD:
            # It stays in its folder and is found there when its turn comes.
            self._more_on_disk = True
            return
        self._known.add(stored.entry)
        self._arrived.append(stored)
        if len(self._known) == 1:
            # More come soon, and are sent together after the usual pause.
            self._woken.set()

    def start(self) -> None:
        """Begin with what lies there."""
        number, _ = spool.backlog(self._objects.spool)
        if number:
            log.info("outbox.recovering", unannounced=number)
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Announce what is held if the broker is there; the rest stays on disk."""
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
                # The entries are on disk: looking at them again loses nothing.
                log.exception("outbox.failed")
                self._stopping.wait(RESTART_DELAY_SECONDS)
            self._woken.wait(
                POLL_INTERVAL_SECONDS if busy or self._known else POLL_INTERVAL_SECONDS * 2
            )
            self._woken.clear()

    def _turn(self) -> bool:
        """Do what there is to do now, and return whether there was anything."""
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
        done = self._recorded()
        if done:
            try:
                self._objects.release(done)
            finally:
                # After a failure the entries are still there, and are found again.
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

    def _recorded(self) -> list[Stored]:
        """Return what may be let go, because a record says that it was announced.

        A full disk must not keep everything else from being announced: the clean-up, which
        would make room, waits for that. So there is an end to waiting for a record.
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
        # Without a key nothing leaves; until there is one, everything stays where it is.
        self._places.make()
        number = 0
        while self._in_flight < MAX_IN_FLIGHT and (stored := self._next()) is not None:
            if not self._objects.relink(stored):
                # Found in the folder and announced before it was handed over.
                self._known.discard(stored.entry)
                continue
            self._in_flight += 1
            sent = _SentFile(stored, event_of(stored))
            self._publisher.publish(self._places.sealed(sent.event), self._on_confirm(sent))
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
        """Take up entries that nobody holds; they are read from their files."""
        # Before looking: whoever stores meanwhile sets it again, or is seen.
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
    """Return the announcement of an object, from its file meta group and place."""
    meta, identity = stored.meta, stored.identity
    provenance = meta.provenance
    originator = provenance.get(ORIGINATOR_MESSAGE_KEY)
    return InstanceStoredV1(
        event_id=instance_event_id(meta.sop_instance_uid, stored.content_sha256),
        occurred_at=stored.received_at,
        association_id=str(provenance.get(ASSOCIATION_KEY, "")),
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
    """Return a title that an event may carry; peers send odd ones (PS3.5 6.2)."""
    kept = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return kept[:MAX_AE_TITLE_LENGTH].strip() or UNKNOWN_AE
