"""`python -m draw_scp.announcing`: the receiver's second process, which announces.

Takes from the receiver what it stored and what it did, over the pipe whose descriptor is
its argument, and works for it what can wait until the peer has its answer: events to the
broker, spool entries to remove, the audit trail, a line in the log for each object. It
gives way to receiving when the cores are busy. It ends when the receiver says so or is
gone; what it has not announced by then lies in the spool folder.
"""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Final

import structlog

from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.models import Announced, Arrivals, Transaction
from draw_scp.settings import Settings
from draw_shared.contracts.server_config import REFERENCE
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.messaging.publisher import Publisher
from draw_shared.runtime import logging
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.outbox import SpoolOutbox

log = structlog.get_logger()

NICENESS: Final = 19
"""Receiving comes first: what was acknowledged waits safely in the spool folder."""
TELL_SECONDS: Final = 0.2


class Announcing:
    """One announcing process, built but not started."""

    def __init__(self, settings: Settings, receiver: Connection) -> None:
        self._receiver = receiver
        storage = REFERENCE.storage
        self._layout = Layout(storage.structure, storage.naming)
        self._objects = 0
        self._publisher = Publisher(settings.broker_url.get_secret_value(), client=settings.replica)
        # The receiver holds the right to the spool folder; this works in its name.
        store = ObjectStore(settings.storage_root, settings.replica)
        self._outbox = SpoolOutbox(store, self._publisher, lambda: self._layout, self._count)
        self._transactions = TransactionLog(store.spool, self._publisher, settings.replica)

    def run(self) -> None:
        """Work until the receiver says that it has no more, or is gone."""
        self._publisher.start()
        self._outbox.start()
        self._transactions.start()
        try:
            finish_seconds = self._work()
        except (EOFError, OSError):
            self._transactions.flush()
            return
        deadline = time.monotonic() + finish_seconds
        for component in (self._transactions, self._outbox, self._publisher):
            component.stop(max(0.1, deadline - time.monotonic()))

    def _work(self) -> float:
        """Take what comes, and return how long the end may take."""
        next_report = 0.0
        while True:
            if self._receiver.poll(TELL_SECONDS):
                arrivals: Arrivals = self._receiver.recv()
                self._take(arrivals)
                if arrivals.finish_seconds is not None:
                    return arrivals.finish_seconds
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + TELL_SECONDS
                objects, self._objects = self._objects, 0
                self._receiver.send(Announced(self._publisher.connected, objects))

    def _take(self, arrivals: Arrivals) -> None:
        circumstances = arrivals.circumstances
        self._layout = circumstances.layout
        logging.set_level(circumstances.log_level)
        if arrivals.overlooked:
            self._outbox.look()
        for stored in arrivals.stored:
            self._outbox.announce(stored)
        for transaction in arrivals.transactions:
            self._transactions.record(transaction)
        self._transactions.flush()
        if circumstances.log_received:
            for transaction in arrivals.transactions:
                _log_received(transaction)

    def _count(self, objects: int) -> None:
        self._objects += objects


def _log_received(done: Transaction) -> None:
    if done.kind is TransactionKind.C_STORE and done.outcome is TransactionOutcome.SUCCESS:
        log.info(
            "store.accepted",
            association_id=done.association_id,
            sop_instance_uid=done.sop_instance_uid,
            size_bytes=done.size_bytes,
            milliseconds=round((done.duration_seconds or 0.0) * 1000, 2),
        )


def main() -> int:
    """Run and return the exit code."""
    # The receiver decides when it is over, also after a Ctrl-C that reaches both.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    settings = Settings.read()
    logging.configure(settings.log_level, service=settings.service, replica=settings.replica)
    with Connection(int(sys.argv[1])) as receiver:
        Announcing(settings, receiver).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
