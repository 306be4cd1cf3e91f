"""`python -m draw_scp.receiving`: an additional receiving process, for a machine with many cores.

One interpreter runs one thread at a time. The receiver accepts every association and hands some
to this process, socket included, over the socket pair whose descriptor is its argument. Objects
are durable before they are answered, as in the receiver; the reports sent afterwards feed the
receiver's counters, the audit trail and the announcer. Concurrency: the main thread takes
messages from the receiver, each association has a thread, one thread sends reports. The process
shares the receiver's lock on the spool folder. It ends at once when the receiver tells it to or
is gone; its open associations are lost then, durable objects are not.
"""

import gc
import os
import pickle
import socket
import sys
import threading
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Final

from draw_scp.adapters import child_process
from draw_scp.handlers.echo import EchoHandler
from draw_scp.handlers.senders import SenderOperations
from draw_scp.handlers.store import StoreHandler
from draw_scp.pipe_messages import (
    AssociationEnded,
    AssociationHandover,
    ObjectStored,
    OperationReport,
    ReceivingConfig,
    ReceivingReady,
    Report,
)
from draw_scp.ports.operations import Result
from draw_scp.settings import ReceivingSettings
from draw_shared.dicom.network.association import AcceptorAssociation
from draw_shared.dicom.network.placement import AssociationEnd
from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome, Peer
from draw_shared.dicom.network.wire import Wire
from draw_shared.runtime import logging
from draw_shared.runtime.descriptors import allow_descriptors
from draw_shared.storage.incoming import WRITER
from draw_shared.storage.ingest import Ingest
from draw_shared.storage.objects import ObjectStore, Stored
from draw_shared.storage.space import Space
from draw_shared.wording import message

REPORT_INTERVAL_SECONDS: Final = 0.05
MAX_SILENT_INTERVALS: Final = 20
"""Report intervals without a report after which an empty one proves that we are alive."""


class Reports:
    """Reports to the receiver, in order: several times a second, at once when a thread waits."""

    def __init__(self, receiver: Connection) -> None:
        self._receiver = receiver
        self._waiting: deque[Report] = deque()
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def announce(self, stored: Stored) -> None:
        self._waiting.append(ObjectStored(stored))

    def note(self, info: AssociationInfo, result: Result) -> None:
        self._waiting.append(OperationReport(info.association_id, result))

    def ended(self, association_id: str, ending: AssociationEnd) -> None:
        """Report that an association has ended; its thread in the receiver waits for this."""
        self._waiting.append(AssociationEnded(association_id, ending))
        self._tell()

    def start(self) -> None:
        """Report that we are ready, and start the reporting thread."""
        self._waiting.append(ReceivingReady(WRITER))
        self._tell()
        self._thread.start()

    def stop(self) -> None:
        """Send the remaining reports."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        silent = 0
        while not self._stopping.wait(REPORT_INTERVAL_SECONDS):
            silent += 1
            if self._waiting or silent > MAX_SILENT_INTERVALS:
                silent = 0
                self._tell()
        self._tell()

    def _tell(self) -> None:
        with self._telling:
            reports = [self._waiting.popleft() for _ in range(len(self._waiting))]
            # The thread that reads the receiver's messages notices when it is gone.
            with suppress(OSError):
                self._receiver.send_bytes(pickle.dumps(reports))


class ReceivingProcess:
    """One receiving process, built but not started."""

    def __init__(self, settings: ReceivingSettings, receiver: Connection) -> None:
        self._receiver = receiver
        self._reports = Reports(receiver)
        self._space = Space(settings.storage_root)
        self._objects = ObjectStore(settings.storage_root, settings.replica)
        self._receiving_config = self._apply(receiver.recv())
        ingest = Ingest(
            self._objects,
            self._space,
            self._reports,
            lambda: self._receiving_config.rules,
            settings.replica,
        )
        self._operations = SenderOperations(
            EchoHandler(self._reports),
            StoreHandler(ingest, self._reports, lambda: self._receiving_config.c_store),
        )

    def run(self) -> None:
        """Serve associations until the receiver says to stop.

        Raises:
            EOFError, OSError: the receiver is gone.
        """
        self._objects.join()
        self._reports.start()
        gc.freeze()
        while (told := self._receiver.recv()) is not None:
            if isinstance(told, AssociationHandover):
                self._begin(told, recv_handle(self._receiver))
            else:
                self._receiving_config = self._apply(told)
        self._reports.stop()

    def _apply(self, receiving_config: ReceivingConfig) -> ReceivingConfig:
        logging.set_level(receiving_config.log_level)
        self._space.set_used(receiving_config.used_bytes)
        return receiving_config

    def _begin(self, handed: AssociationHandover, descriptor: int) -> None:
        connection = socket.socket(fileno=descriptor)
        thread = threading.Thread(
            target=self._serve, args=(handed, connection), name="dicom-association", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            connection.close()
            self._reports.ended(
                handed.info.association_id,
                AssociationEnd(AssociationOutcome.ABORTED, message("no thread can be started")),
            )

    def _serve(self, handed: AssociationHandover, connection: socket.socket) -> None:
        info = handed.info
        ending = AssociationEnd(AssociationOutcome.LOST, message("closed by peer"))
        try:
            with connection, suppress(OSError):
                peer = Peer(info.association_id, info.peer_address, info.local_address)
                association = AcceptorAssociation(
                    Wire(connection), peer, self._operations, handed.limits
                )
                ending = association.carry_on(info)
        finally:
            self._reports.ended(info.association_id, ending)


def main() -> int:
    """Run and return the exit code."""
    settings, receiver = child_process.attach(ReceivingSettings)
    allow_descriptors()
    with receiver:
        try:
            ReceivingProcess(settings, receiver).run()
        except (EOFError, OSError):
            # Without a receiver nobody counts or limits these associations: end like it.
            os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
