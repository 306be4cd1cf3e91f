"""C-ECHO (PS3.7 9.1.5)."""

from draw_scp.metrics import ScpMetrics
from draw_scp.services.audit import Audit, Operation
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.service import AssociationInfo
from draw_shared.dicom.statuses import Status
from draw_shared.dicom.uids import VERIFICATION


class EchoHandler:
    """Answers that we are here."""

    def __init__(self, audit: Audit, metrics: ScpMetrics) -> None:
        self._audit = audit
        self._answered = metrics.operations.labels("c-echo", "0x0000")

    def echo(self, info: AssociationInfo) -> int:
        """Return success, always."""
        self._answered.inc()
        self._audit.operation(
            info,
            Operation(TransactionKind.C_ECHO, Status.SUCCESS, 0.0, sop_class_uid=VERIFICATION),
        )
        return Status.SUCCESS
