"""C-GET and C-MOVE: the use case, else each failure to one status (PS3.4 C.4.2.1.5, C.4.3.1.4)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from draw_scp.handlers.find import only_study, warn_of_misread
from draw_scp.metrics import ScpMetrics
from draw_scp.models import NotOnRecord
from draw_scp.ports.operations import RightsDemand
from draw_scp.services.audit import AnsweredOperation, AuditService
from draw_scp.services.retrieve import DeliveryBegins, Step, SubOperationService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import (
    AssociationInfo,
    OperationRefused,
    QueryRequest,
    RetrieveEnd,
    SameAssociation,
    SubOperations,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.query import Selection, selected
from draw_shared.errors import Transient

log = structlog.get_logger()

Told = SubOperations | RetrieveEnd
"""What the peer is told."""


@dataclass(slots=True)
class _RetrieveProgress:
    """How far one retrieve is; the status is that of one whose association broke."""

    begun: float = field(default_factory=time.perf_counter)
    counts: SubOperations = field(default_factory=lambda: SubOperations(0, 0, 0, 0))
    status: int = DimseStatus.UNABLE_TO_PERFORM_SUB_OPERATIONS
    detail: str = "the association ended"
    study: str | None = None
    """The only study of which anything was sent, or that was asked for."""


class RetrieveHandler:
    """Answers C-GET and C-MOVE requests."""

    def __init__(
        self,
        retrievals: SubOperationService,
        demand: RightsDemand,
        audit: AuditService,
        metrics: ScpMetrics,
        log_answered: Callable[[], bool],
    ) -> None:
        self._retrievals = retrievals
        self._demand = demand
        self._audit = audit
        self._metrics = metrics
        self._log_answered = log_answered

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
    ) -> Iterator[Told]:
        """Yield progress and at last the end."""

        def steps(selection: Selection) -> Iterator[Step]:
            self._demand(info, Right.RETRIEVE)
            return self._retrievals.get(request, selection, channel, cancelled, info.claimant)

        return self._performed(info, request, TransactionKind.C_GET, steps)

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Told]:
        """Yield progress and at last the end."""

        def steps(selection: Selection) -> Iterator[Step]:
            self._demand(info, Right.MOVE, request.move_destination)
            return self._retrievals.move(request, selection, info.claimant, cancelled)

        return self._performed(info, request, TransactionKind.C_MOVE, steps)

    def _performed(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        kind: TransactionKind,
        steps: Callable[[Selection], Iterator[Step]],
    ) -> Iterator[Told]:
        progress = _RetrieveProgress()
        try:
            selection = selected(request, info.extended.get(request.sop_class_uid, b""))
            progress.study = only_study(selection.conditions)
            warn_of_misread(selection.misread, info)
            for step in steps(selection):
                if isinstance(step, DeliveryBegins):
                    if len(step.leaving) == 1:
                        (progress.study,) = step.leaving
                    self._audit.begun(info, kind, step.leaving, request.move_destination)
                    continue
                if isinstance(step, RetrieveEnd):
                    progress.status, progress.counts = step.status, step.counts
                    progress.detail = step.comment or selection.level.name
                else:
                    progress.counts = step
                yield step
        except OperationRefused as refused:
            progress.status, progress.detail = refused.status, refused.comment
            raise
        except NotOnRecord as failure:
            progress.detail = str(failure)
            raise OperationRefused(progress.status, progress.detail) from failure
        except Transient as failure:
            progress.status, progress.detail = DimseStatus.UNABLE_TO_COUNT_MATCHES, str(failure)
            raise OperationRefused(progress.status, progress.detail) from failure
        finally:
            self._account(info, request, kind, progress)

    def _account(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        kind: TransactionKind,
        done: _RetrieveProgress,
    ) -> None:
        seconds = time.perf_counter() - done.begun
        status, counts = f"0x{done.status:04X}", done.counts
        self._metrics.operations.labels(str(kind), status).inc()
        self._metrics.retrieve_seconds.labels(str(kind)).observe(seconds)
        destination = f" to {request.move_destination}" if request.move_destination else ""
        self._audit.operation(
            info,
            AnsweredOperation(
                kind,
                done.status,
                seconds,
                objects=counts.completed + counts.warning,
                sop_class_uid=request.sop_class_uid,
                study_instance_uid=done.study,
                detail=f"{done.detail}{destination}",
            ),
        )
        failed = done.status not in {DimseStatus.SUCCESS, DimseStatus.CANCELLED}
        if failed or self._log_answered():
            (log.warning if failed else log.info)(
                "retrieve.answered",
                association_id=info.association_id,
                operation=str(kind),
                calling_ae=info.calling_ae,
                destination=request.move_destination,
                status=status,
                completed=counts.completed,
                failed=counts.failed,
                warning=counts.warning,
                detail=done.detail,
                milliseconds=round(seconds * 1000, 2),
            )
