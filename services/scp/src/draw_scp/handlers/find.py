"""C-FIND: the use case, else each failure to one status (PS3.4 C.4.1.1.4)."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.ports.operations import RightsDemand
from draw_scp.services.audit import AnsweredOperation, AuditService
from draw_scp.services.query import FindService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import (
    AssociationInfo,
    Matches,
    OperationRefused,
    QueryRequest,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.keys import BY_KEYWORD, IndexedAttribute
from draw_shared.dicom.query.matching import Condition, Texts
from draw_shared.dicom.query.query import understood
from draw_shared.errors import Transient

log = structlog.get_logger()


@dataclass(slots=True)
class _FindProgress:
    """How far one query is; the status is that of a query which is broken off."""

    begun: float = field(default_factory=time.perf_counter)
    matches: int = 0
    status: int = DimseStatus.CANCELLED
    detail: str = "broken off by the peer"
    study: str | None = None


class FindHandler:
    """Answers C-FIND requests."""

    def __init__(
        self,
        queries: FindService,
        demand: RightsDemand,
        audit: AuditService,
        metrics: ScpMetrics,
        log_answered: Callable[[], bool],
    ) -> None:
        self._queries = queries
        self._demand = demand
        self._audit = audit
        self._metrics = metrics
        self._log_answered = log_answered

    def find(
        self, info: AssociationInfo, request: QueryRequest, _cancelled: Callable[[], bool]
    ) -> Iterator[Matches]:
        """Yield the answers; the end is success, Refused any other final status."""
        progress = _FindProgress()
        try:
            self._demand(info, Right.QUERY)
            query = understood(request, info.extended.get(request.sop_class_uid, b""))
            progress.study = only_study(query.conditions)
            warn_of_misread(query.misread, info)
            _warn_of_impossible(query.impossible, info)
            syntax = request.context.transfer_syntax
            for matches in self._queries.answers(query, syntax, info.claimant):
                progress.matches += len(matches.identifiers)
                yield matches
            progress.status, progress.detail = DimseStatus.SUCCESS, query.level.name
        except OperationRefused as refused:
            progress.status, progress.detail = refused.status, refused.comment
            raise
        except Transient as failure:
            progress.status, progress.detail = DimseStatus.OUT_OF_RESOURCES, str(failure)
            raise OperationRefused(progress.status, progress.detail) from failure
        finally:
            self._account(info, request, progress)

    def _account(self, info: AssociationInfo, request: QueryRequest, done: _FindProgress) -> None:
        seconds = time.perf_counter() - done.begun
        status = f"0x{done.status:04X}"
        self._metrics.operations.labels("c-find", status).inc()
        self._metrics.find_seconds.observe(seconds)
        self._metrics.matches.inc(done.matches)
        self._audit.operation(
            info,
            AnsweredOperation(
                TransactionKind.C_FIND,
                done.status,
                seconds,
                objects=done.matches,
                sop_class_uid=request.sop_class_uid,
                study_instance_uid=done.study,
                detail=done.detail,
            ),
        )
        failed = done.status not in {DimseStatus.SUCCESS, DimseStatus.CANCELLED}
        if failed or self._log_answered():
            (log.warning if failed else log.info)(
                "find.answered",
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                status=status,
                matches=done.matches,
                detail=done.detail,
                milliseconds=round(seconds * 1000, 2),
            )


def warn_of_misread(keywords: Sequence[str], info: AssociationInfo) -> None:
    """Say in the log which keys of an identifier are no text in their character set."""
    if keywords:
        log.warning(
            "query.key_misread",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            keywords=list(keywords),
        )


def _warn_of_impossible(keywords: Sequence[str], info: AssociationInfo) -> None:
    """Say in the log which keys of a query nothing can match (PS3.4 C.2.2.2)."""
    if keywords:
        log.warning(
            "query.key_impossible",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            keywords=list(keywords),
        )


def only_study(conditions: Mapping[IndexedAttribute, Condition]) -> str | None:
    """Return the Study Instance UID if an identifier names exactly one."""
    asked = conditions.get(BY_KEYWORD["StudyInstanceUID"])
    return asked.values[0] if isinstance(asked, Texts) and len(asked.values) == 1 else None
