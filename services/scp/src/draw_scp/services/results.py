"""What became of senders' operations, in metrics, audit trail and log."""

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.models import Later
from draw_scp.services.audit import Audit, Operation
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.service import AssociationInfo, StoreRequest
from draw_shared.dicom.statuses import Status
from draw_shared.dicom.uids import VERIFICATION
from draw_shared.storage.objects import Stored

log = structlog.get_logger()


class RecordedResults:
    """Records what was answered; an object that was stored, when its peer has the answer."""

    def __init__(self, audit: Audit, metrics: ScpMetrics, afterwards: Later) -> None:
        self._audit = audit
        self._metrics = metrics
        self._afterwards = afterwards
        self._answered = metrics.operations.labels("c-echo", "0x0000")
        self._succeeded = metrics.operations.labels("c-store", "0x0000")

    def echoed(self, info: AssociationInfo) -> None:
        self._answered.inc()
        self._audit.operation(
            info,
            Operation(TransactionKind.C_ECHO, Status.SUCCESS, 0.0, sop_class_uid=VERIFICATION),
        )

    def stored(
        self,
        info: AssociationInfo,
        request: StoreRequest,
        stored: Stored,
        seconds: float,
        commit_seconds: float,
    ) -> None:
        self._afterwards(self._account, info, request, stored, seconds, commit_seconds)

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

    def refused(
        self, info: AssociationInfo, request: StoreRequest, status: int, reason: str, seconds: float
    ) -> None:
        self._metrics.operations.labels("c-store", f"0x{status:04X}").inc()
        self._audit.operation(
            info,
            Operation(
                TransactionKind.C_STORE,
                status,
                seconds,
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
