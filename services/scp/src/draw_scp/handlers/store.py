"""C-STORE: the use case, else each typed failure to one status (PS3.4 B.2.3)."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.models import Later
from draw_scp.services.audit import Audit, Operation
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.service import AssociationInfo, Refused, StoreRequest
from draw_shared.dicom.statuses import Status
from draw_shared.errors import DrawError
from draw_shared.storage.ingest import Ingest, Reception, SopClassNotNegotiated, answer_to
from draw_shared.storage.objects import Stored

log = structlog.get_logger()

FAILURES: Final = (DrawError, OSError)


class StoreHandler:
    """Answers C-STORE requests."""

    def __init__(
        self,
        ingest: Ingest,
        audit: Audit,
        metrics: ScpMetrics,
        afterwards: Later,
        offered: Callable[[], bool],
    ) -> None:
        self._ingest = ingest
        self._audit = audit
        self._metrics = metrics
        self._afterwards = afterwards
        self._offered = offered
        self._succeeded = metrics.operations.labels("c-store", "0x0000")

    def store(self, info: AssociationInfo, request: StoreRequest) -> "ObjectReceiver":
        """Return who takes the data set.

        Raises:
            Refused: the object cannot be taken, whatever it holds.
        """
        begun = time.perf_counter()
        try:
            if not self._offered():
                # Negotiated for C-GET's way back, or before it was switched off.
                raise SopClassNotNegotiated("C-STORE is switched off")
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
        """Have an object that is durable now accounted for, after the answer."""
        now = time.perf_counter()
        self._afterwards(self._account, info, request, stored, now - begun, now - complete)

    def _account(
        self,
        info: AssociationInfo,
        request: StoreRequest,
        stored: Stored,
        seconds: float,
        commit_seconds: float,
    ) -> None:
        metrics = self._metrics
        self._succeeded.inc()
        metrics.stored.inc()
        metrics.bytes.inc(stored.size_bytes)
        metrics.seconds.observe(seconds)
        metrics.commit_seconds.observe(commit_seconds)
        if stored.duplicate:
            metrics.duplicates.inc()
        self._audit.operation(
            info,
            Operation(
                TransactionKind.C_STORE,
                Status.SUCCESS,
                seconds,
                size_bytes=stored.size_bytes,
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                study_instance_uid=stored.identity.study_instance_uid,
                detail="duplicate" if stored.duplicate else None,
            ),
        )

    def refuse(
        self, info: AssociationInfo, request: StoreRequest, error: Exception, begun: float
    ) -> Refused:
        """Account for a failure and return its answer."""
        status = answer_to(error)
        # The words of our own failures are fixed texts; others may hold a path.
        reason = str(error) if isinstance(error, DrawError) else type(error).__name__
        self._metrics.operations.labels("c-store", f"0x{status:04X}").inc()
        self._audit.operation(
            info,
            Operation(
                TransactionKind.C_STORE,
                status,
                time.perf_counter() - begun,
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                detail=reason,
            ),
        )
        log.warning(
            "store.refused",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            sop_instance_uid=request.sop_instance_uid,
            status=f"0x{status:04X}",
            reason=reason,
        )
        return Refused(status, reason)


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
        return Status.SUCCESS

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._reception.abandon()
