"""`python -m draw_scp.receiving`: one more process that receives, for a receiver on many cores.

One interpreter runs one thread at a time. The receiver accepts every association itself and
hands some over, connection and all, over the socket whose descriptor is this process's
argument. What is received here is durable before it is answered, exactly as there; what is
told to the receiver afterwards is for its counters, the audit trail and the announcer. This
process shares the receiver's right to the spool folder, and ends at once when the receiver
says so or is gone.
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

REPORT_INTERVAL_SECONDS: Final = 0.05
LIFE_SIGN: Final = 20
"""Turns without a report after which an empty one says that we live."""


class Reports:
    """What the receiver is told, in order: several times a second, and at once when it waits."""

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
        """Say that an association has ended; its thread in the receiver waits for that."""
        self._waiting.append(AssociationEnded(association_id, ending))
        self._tell()

    def start(self) -> None:
        """Say that we have begun, and go on telling."""
        self._waiting.append(ReceivingReady(WRITER))
        self._tell()
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        silent = 0
        while not self._stopping.wait(REPORT_INTERVAL_SECONDS):
            silent += 1
            if self._waiting or silent > LIFE_SIGN:
                silent = 0
                self._tell()
        self._tell()

    def _tell(self) -> None:
        with self._telling:
            reports = [self._waiting.popleft() for _ in range(len(self._waiting))]
            # A receiver that is gone is noticed where its messages are read.
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
        """Serve what is handed over until the receiver says that it is over.

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
        self._space.told(receiving_config.used_bytes)
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
                AssociationEnd(AssociationOutcome.ABORTED, "no thread can be started"),
            )

    def _serve(self, handed: AssociationHandover, connection: socket.socket) -> None:
        info = handed.info
        ending = AssociationEnd(AssociationOutcome.LOST, "closed by peer")
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
    settings, receiver = child_process.begun(ReceivingSettings)
    allow_descriptors()
    with receiver:
        try:
            ReceivingProcess(settings, receiver).run()
        except (EOFError, OSError):
            # Without a receiver nobody counts or limits these associations: as if killed with it.
            os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
