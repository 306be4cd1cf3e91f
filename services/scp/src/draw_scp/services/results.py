"""Records the outcome of senders' operations in metrics, audit trail and log."""

import structlog
from typing_extensions import override

from draw_scp.metrics import ScpMetrics
from draw_scp.ports.operations import (
    Deferral,
    OperationResults,
    Result,
    StoreRefused,
    StoreSucceeded,
)
from draw_scp.services.audit import AnsweredOperation, AuditService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.encoding.uids import VERIFICATION
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.dicom.network.statuses import DimseStatus

log = structlog.get_logger()


class ResultService(OperationResults):
    """Records each answer; a stored object is recorded after the peer has its answer."""

    def __init__(self, audit: AuditService, metrics: ScpMetrics, deferred_tasks: Deferral) -> None:
        self._audit = audit
        self._metrics = metrics
        self._deferred = deferred_tasks
        self._answered = metrics.operations.labels("c-echo", "0x0000")
        self._succeeded = metrics.operations.labels("c-store", "0x0000")

    @override
    def note(self, info: AssociationInfo, result: Result) -> None:
        if isinstance(result, StoreSucceeded):
            self._deferred(self._record_stored, info, result)
        elif isinstance(result, StoreRefused):
            self._record_refused(info, result)
        else:
            self._echoed(info)

    def _echoed(self, info: AssociationInfo) -> None:
        self._answered.inc()
        self._audit.operation(
            info,
            AnsweredOperation(
                TransactionKind.C_ECHO, DimseStatus.SUCCESS, 0.0, sop_class_uid=VERIFICATION
            ),
        )

    def _record_stored(self, info: AssociationInfo, success: StoreSucceeded) -> None:
        metrics, stored, request = self._metrics, success.stored, success.request
        self._succeeded.inc()
        metrics.stored.inc()
        metrics.bytes.inc(stored.size_bytes)
        metrics.seconds.observe(success.seconds)
        metrics.commit_seconds.observe(success.commit_seconds)
        if stored.duplicate:
            metrics.duplicates.inc()
        self._audit.operation(
            info,
            AnsweredOperation(
                TransactionKind.C_STORE,
                DimseStatus.SUCCESS,
                success.seconds,
                size_bytes=stored.size_bytes,
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                study_instance_uid=stored.identity.study_instance_uid,
                detail="duplicate" if stored.duplicate else None,
            ),
        )

    def _record_refused(self, info: AssociationInfo, refused: StoreRefused) -> None:
        status = f"0x{refused.status:04X}"
        self._metrics.operations.labels("c-store", status).inc()
        self._audit.operation(
            info,
            AnsweredOperation(
                TransactionKind.C_STORE,
                refused.status,
                refused.seconds,
                sop_class_uid=refused.request.sop_class_uid,
                sop_instance_uid=refused.request.sop_instance_uid,
                detail=refused.reason,
            ),
        )
        log.warning(
            "store.refused",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            sop_instance_uid=refused.request.sop_instance_uid,
            status=status,
            reason=refused.reason,
        )
