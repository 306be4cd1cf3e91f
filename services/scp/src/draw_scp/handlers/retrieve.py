"""C-GET and C-MOVE: runs the use case, maps failures to statuses (PS3.4 C.4.2.1.5, C.4.3.1.4)."""

from collections.abc import Callable, Iterator
from typing import Final

from draw_scp.handlers.accounting import (
    OperationAccount,
    OperationAccounting,
    only_study,
    warn_of_misread,
)
from draw_scp.models import NotOnRecord
from draw_scp.ports.operations import RightsDemand
from draw_scp.services.audit import AuditService
from draw_scp.services.retrieve import DeliveryBegins, Step, SubOperationService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import (
    AssociationInfo,
    QueryRequest,
    RetrieveEnd,
    SameAssociation,
    SubOperations,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.query import Selection, parse_retrieve
from draw_shared.errors import Transient
from draw_shared.wording import message

RetrieveResponse = SubOperations | RetrieveEnd
"""What is sent to the peer."""


FAILURES: Final = {
    NotOnRecord: DimseStatus.UNABLE_TO_PERFORM_SUB_OPERATIONS,
    Transient: DimseStatus.UNABLE_TO_COUNT_MATCHES,
}


class RetrieveHandler:
    """Answers C-GET and C-MOVE requests."""

    def __init__(
        self,
        retrievals: SubOperationService,
        demand: RightsDemand,
        audit: AuditService,
        accounting: OperationAccounting,
    ) -> None:
        self._retrievals = retrievals
        self._demand = demand
        self._audit = audit
        self._accounting = accounting

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
    ) -> Iterator[RetrieveResponse]:
        """Yield progress and finally the end."""

        def steps(selection: Selection) -> Iterator[Step]:
            self._demand(info, Right.RETRIEVE)
            return self._retrievals.get(request, selection, channel, cancelled, info.claimant)

        return self._perform(info, request, TransactionKind.C_GET, steps)

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[RetrieveResponse]:
        """Yield progress and finally the end."""

        def steps(selection: Selection) -> Iterator[Step]:
            self._demand(info, Right.MOVE, request.move_destination)
            return self._retrievals.move(request, selection, info.claimant, cancelled)

        return self._perform(info, request, TransactionKind.C_MOVE, steps)

    def _perform(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        kind: TransactionKind,
        steps: Callable[[Selection], Iterator[Step]],
    ) -> Iterator[RetrieveResponse]:
        account = OperationAccount(
            kind, DimseStatus.UNABLE_TO_PERFORM_SUB_OPERATIONS, message("the association ended")
        )
        with self._accounting.keep(info, request, account, FAILURES):
            selection = parse_retrieve(request, info.extended.get(request.sop_class_uid, b""))
            account.study = only_study(selection.conditions)
            warn_of_misread(selection.misread, info)
            for step in steps(selection):
                if isinstance(step, DeliveryBegins):
                    if len(step.leaving) == 1:
                        (account.study,) = step.leaving
                    self._audit.begun(info, kind, step.leaving, request.move_destination)
                    continue
                if isinstance(step, RetrieveEnd):
                    account.status, account.counts = step.status, step.counts
                    account.detail = step.comment or selection.level.name
                else:
                    account.counts = step
                yield step
