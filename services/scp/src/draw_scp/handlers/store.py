"""C-STORE: runs the use case, and maps each typed failure to one status (PS3.4 B.2.3)."""

import time
from collections.abc import Callable
from typing import Final

from draw_scp.ports.operations import OperationResults, StoreRefused, StoreSucceeded
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import AssociationInfo, OperationRefused, StoreRequest
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.errors import DrawError
from draw_shared.storage.ingest import (
    Ingest,
    Reception,
    SopClassNotNegotiated,
    StoreNotAuthorized,
    answer_to,
)
from draw_shared.storage.objects import Stored
from draw_shared.wording import message

FAILURES: Final = (DrawError, OSError)


class StoreHandler:
    """Answers C-STORE requests."""

    def __init__(
        self, ingest: Ingest, results: OperationResults, offered: Callable[[], bool]
    ) -> None:
        self._ingest = ingest
        self._results = results
        self._offered = offered

    def store(self, info: AssociationInfo, request: StoreRequest) -> "ObjectReceiver":
        """Return the sink for the data set.

        Raises:
            OperationRefused: the object cannot be accepted, whatever its content.
        """
        begun = time.perf_counter()
        try:
            if not self._offered():
                # Negotiated for the way back of C-GET, or before C-STORE was switched off.
                raise SopClassNotNegotiated(message("C-STORE is switched off"))
            if Right.STORE not in info.rights:
                raise StoreNotAuthorized(message("no right to store"))
            reception = self._ingest.begin(info, request)
        except FAILURES as error:
            raise self.refuse(info, request, error, begun) from error
        return ObjectReceiver(self, reception, info, request, begun)

    def accepted(
        self,
        info: AssociationInfo,
        request: StoreRequest,
        stored: Stored,
        begun: float,
        complete: float,
    ) -> None:
        """Account for an object that is durable now."""
        now = time.perf_counter()
        self._results.note(info, StoreSucceeded(request, stored, now - begun, now - complete))

    def refuse(
        self, info: AssociationInfo, request: StoreRequest, error: Exception, begun: float
    ) -> OperationRefused:
        """Account for a failure and return its answer."""
        status = answer_to(error)
        # Our own failures have fixed texts; others may contain a path.
        reason = str(error) if isinstance(error, DrawError) else type(error).__name__
        seconds = time.perf_counter() - begun
        self._results.note(info, StoreRefused(request, status, reason, seconds))
        return OperationRefused(status, reason)


class ObjectReceiver:
    """Takes the data set of one request (the engine's ObjectSink)."""

    def __init__(
        self,
        handler: StoreHandler,
        reception: Reception,
        info: AssociationInfo,
        request: StoreRequest,
        begun: float,
    ) -> None:
        self._handler = handler
        self._reception = reception
        self._info = info
        self._request = request
        self._begun = begun

    def write(self, chunk: memoryview) -> None:
        """Take a fragment."""
        try:
            self._reception.write(chunk)
        except FAILURES as error:
            raise self._handler.refuse(self._info, self._request, error, self._begun) from error

    def commit(self) -> int:
        """Return success when the object is durable."""
        complete = time.perf_counter()
        try:
            stored = self._reception.complete()
        except FAILURES as error:
            self._reception.abandon()
            raise self._handler.refuse(self._info, self._request, error, self._begun) from error
        self._handler.accepted(self._info, self._request, stored, self._begun, complete)
        return DimseStatus.SUCCESS

    def abandon(self) -> None:
        """Leave nothing behind; the association ended in the middle."""
        self._reception.abandon()
