"""C-FIND: runs the use case, and maps each failure to one status (PS3.4 C.4.1.1.4)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from draw_scp.handlers.accounting import (
    OperationAccount,
    OperationAccounting,
    only_study,
    warn_of_misread,
)
from draw_scp.ports.operations import RightsDemand
from draw_scp.services.query import FindService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import (
    AssociationInfo,
    Matches,
    QueryRequest,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.query import parse_find
from draw_shared.errors import Transient
from draw_shared.wording import message

log = structlog.get_logger()


FAILURES: Final = {Transient: DimseStatus.OUT_OF_RESOURCES}


class FindHandler:
    """Answers C-FIND requests."""

    def __init__(
        self, queries: FindService, demand: RightsDemand, accounting: OperationAccounting
    ) -> None:
        self._queries = queries
        self._demand = demand
        self._accounting = accounting

    def find(
        self, info: AssociationInfo, request: QueryRequest, _cancelled: Callable[[], bool]
    ) -> Iterator[Matches]:
        """Yield the answers; the end means success, OperationRefused any other final status."""
        account = OperationAccount(
            TransactionKind.C_FIND, DimseStatus.CANCELLED, message("broken off by the peer")
        )
        with self._accounting.keep(info, request, account, FAILURES):
            self._demand(info, Right.QUERY)
            query = parse_find(request, info.extended.get(request.sop_class_uid, b""))
            account.study = only_study(query.conditions)
            warn_of_misread(query.misread, info)
            _warn_of_impossible(query.impossible, info)
            syntax = request.context.transfer_syntax
            for matches in self._queries.answers(query, syntax, info.claimant):
                account.matches += len(matches.identifiers)
                yield matches
            account.status, account.detail = DimseStatus.SUCCESS, query.level.name


def _warn_of_impossible(keywords: Sequence[str], info: AssociationInfo) -> None:
    """Log which keys of a query cannot match anything (PS3.4 C.2.2.2)."""
    if keywords:
        log.warning(
            "query.key_impossible",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            keywords=list(keywords),
        )
