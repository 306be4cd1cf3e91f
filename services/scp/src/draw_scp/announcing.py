"""`python -m draw_scp.announcing`: the child process that publishes and writes the audit trail.

The receiver sends it batches over a pipe. It does all work that can wait until the peer has its
answer: it publishes events, removes spool entries, writes the audit trail and, at level DEBUG,
logs each object. It yields to receiving: it runs nice and holds batches until a burst ends, at
most two seconds. Concurrency: the main thread reads the pipe; publisher, outbox and transaction
log have their own threads. It ends when the receiver tells it to or is gone: it has then written
the audit trail, and unannounced objects stay in the spool folder. If it is killed, the receiver
sends the next one every batch that it had not reported as written.
"""

import gc
import os
import pickle
import sys
import time
from multiprocessing.connection import Connection
from typing import Final
from uuid import UUID, uuid5

import structlog

from draw_scp.adapters import child_process
from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.pipe_messages import WITH_OBJECTS, AnnouncerBatch, AnnouncerStatus
from draw_scp.settings import AnnouncingSettings
from draw_shared.contracts.instance import instance_event_id
from draw_shared.contracts.server_config import REFERENCE
from draw_shared.messaging.publisher import Publisher
from draw_shared.runtime import logging
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import ObjectStore, Stored
from draw_shared.storage.outbox import SpoolOutbox
from draw_shared.storage.reception import ASSOCIATION_KEY

log = structlog.get_logger()

NICENESS: Final = 10
"""Receiving comes first: acknowledged objects are safe in the spool folder."""
REPORT_INTERVAL_SECONDS: Final = 0.2
BURST_TIMEOUT_SECONDS: Final = 2.0
"""Longest time a burst is held; until then receiving has the machine."""
HEAD_START_TIMEOUT_SECONDS: Final = 1.0
"""How long events are sent alone before the audit trail is written."""
POLL_INTERVAL_SECONDS: Final = 0.01
BURST_PAUSE_SECONDS: Final = 0.1
"""A burst has ended when nothing arrives for this time."""


class Announcing:
    """One announcing process, built but not started."""

    def __init__(self, settings: AnnouncingSettings, receiver: Connection) -> None:
        self._receiver = receiver
        storage = REFERENCE.storage
        self._layout = Layout(storage.structure, storage.naming)
        self._objects = 0
        self._lines_lost = 0
        self._recorded: UUID | None = None
        self._publisher = Publisher(settings.broker_url.get_secret_value(), client=settings.replica)
        # The receiver holds the lock on the spool folder; this process works on its behalf.
        store = ObjectStore(settings.storage_root, settings.replica)
        self._outbox = SpoolOutbox(store, self._publisher, lambda: self._layout, self._count)
        self._transactions = TransactionLog(
            store.spool, self._publisher, settings.replica, self._count_lost
        )

    def run(self) -> None:
        """Work until the receiver sends its last batch or is gone."""
        self._publisher.start()
        self._outbox.start()
        self._transactions.start()
        # As in the lifecycle of a service: what exists now stays for good.
        gc.freeze()
        try:
            finish_seconds = self._work()
        except (EOFError, OSError):
            return
        deadline = time.monotonic() + finish_seconds
        for component in (self._transactions, self._outbox, self._publisher):
            component.stop(max(0.1, deadline - time.monotonic()))

    def _work(self) -> float:
        """Receive batches until the last one, and return how long stopping may take."""
        held: list[bytes] = []
        held_since = last_objects = next_report = 0.0
        while True:
            try:
                if self._receiver.poll(BURST_PAUSE_SECONDS):
                    raw = self._receiver.recv_bytes()
                    now = time.monotonic()
                    held_since = held_since if held else now
                    last_objects = now if raw.startswith(WITH_OBJECTS) else last_objects
                    held.append(raw)
            except (EOFError, OSError):
                self._take_all(held)
                raise
            now = time.monotonic()
            if held and (
                now - last_objects >= BURST_PAUSE_SECONDS
                or now - held_since >= BURST_TIMEOUT_SECONDS
            ):
                finish_seconds = self._take_all(held)
                if finish_seconds is not None:
                    self._receiver.send(self._status())
                    return finish_seconds
                held.clear()
            if now >= next_report:
                next_report = now + REPORT_INTERVAL_SECONDS
                self._receiver.send(self._status())

    def _take_all(self, held: list[bytes]) -> float | None:
        """Process the held batches, and return the finish time of the last one, if it has one."""
        # Our own bytes, over a pipe that only the receiver has.
        taken: list[AnnouncerBatch] = [pickle.loads(memoryview(raw)[1:]) for raw in held]  # noqa: S301
        # Somebody may be waiting for the events, so they go first.
        for arrivals in taken:
            self._announce(arrivals)
        deadline = time.monotonic() + HEAD_START_TIMEOUT_SECONDS
        while self._publisher.connected and self._outbox.to_send and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_SECONDS)
        for arrivals in taken:
            self._write_down(arrivals)
        return taken[-1].finish_seconds if taken else None

    def _status(self) -> AnnouncerStatus:
        objects, self._objects = self._objects, 0
        lost, self._lines_lost = self._lines_lost, 0
        return AnnouncerStatus(
            self._publisher.connected,
            objects,
            self._recorded,
            lost,
            self._transactions.reserve_bytes,
        )

    def _announce(self, arrivals: AnnouncerBatch) -> None:
        self._layout = arrivals.announcer_config.layout
        if arrivals.overlooked:
            self._outbox.look()
        for stored in arrivals.stored:
            self._outbox.announce(stored)

    def _write_down(self, arrivals: AnnouncerBatch) -> None:
        for batch in arrivals.batches:
            for number, transaction in enumerate(batch.transactions):
                # The same batch sent again makes the same record ids.
                self._transactions.record(transaction, uuid5(batch.id, str(number)))
        if arrivals.lost is not None:
            self._transactions.lose(arrivals.lost)
        self._transactions.flush()
        if arrivals.batches:
            self._recorded = arrivals.batches[-1].id
        logging.set_level(arrivals.announcer_config.log_level)
        if arrivals.announcer_config.log_received and logging.is_written("DEBUG"):
            for stored in arrivals.stored:
                _log_received(stored)

    def _count(self, objects: int) -> None:
        self._objects += objects

    def _count_lost(self, lines: int) -> None:
        self._lines_lost += lines


def _log_received(stored: Stored) -> None:
    log.debug(
        "store.accepted",
        association_id=stored.meta.provenance.get(ASSOCIATION_KEY),
        event_id=str(instance_event_id(stored.meta.sop_instance_uid, stored.content_sha256)),
        sop_instance_uid=stored.meta.sop_instance_uid,
        size_bytes=stored.size_bytes,
    )


def main() -> int:
    """Run and return the exit code."""
    settings, receiver = child_process.attach(AnnouncingSettings)
    os.nice(NICENESS)
    with receiver:
        Announcing(settings, receiver).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
