"""Accounts for C-FIND, C-GET and C-MOVE: final status, metrics, audit trail and log."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.services.audit import AnsweredOperation, AuditService
from draw_shared.contracts.transaction import TransactionKind
from draw_shared.dicom.network.service import (
    AssociationInfo,
    OperationRefused,
    QueryRequest,
    SubOperations,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.keys import BY_KEYWORD, IndexedAttribute
from draw_shared.dicom.query.matching import Condition, Texts
from draw_shared.errors import Transient

log = structlog.get_logger()


@dataclass(slots=True)
class OperationAccount:
    """The state of one operation; until it ends, the status is that of a broken one."""

    kind: TransactionKind
    status: int
    detail: str
    matches: int = 0
    counts: SubOperations = field(default_factory=lambda: SubOperations(0, 0, 0, 0))
    study: str | None = None
    """The only study that was requested, or of which anything was sent."""


class OperationAccounting:
    """Accounts for each operation when it ends, in whatever way it ends."""

    def __init__(
        self, audit: AuditService, metrics: ScpMetrics, log_answered: Callable[[], bool]
    ) -> None:
        self._audit = audit
        self._metrics = metrics
        self._log_answered = log_answered

    @contextmanager
    def keep(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        account: OperationAccount,
        failures: Mapping[type[Transient], DimseStatus],
    ) -> Iterator[None]:
        """Account for the operation in this context, in whatever way it ends.

        Raises:
            OperationRefused: for other failures too, with the status of the first matching type in
                `failures`.
        """
        begun = time.perf_counter()
        try:
            yield
        except OperationRefused as refused:
            account.status, account.detail = refused.status, refused.comment
            raise
        except Transient as failure:
            account.detail = str(failure)
            account.status = next(
                status for kind, status in failures.items() if isinstance(failure, kind)
            )
            raise OperationRefused(account.status, account.detail) from failure
        finally:
            self._account(info, request, account, time.perf_counter() - begun)

    def _account(
        self, info: AssociationInfo, request: QueryRequest, done: OperationAccount, seconds: float
    ) -> None:
        status, counts, destination = f"0x{done.status:04X}", done.counts, request.move_destination
        self._metrics.operations.labels(str(done.kind), status).inc()
        if done.kind is TransactionKind.C_FIND:
            self._metrics.find_seconds.observe(seconds)
            self._metrics.matches.inc(done.matches)
        else:
            self._metrics.retrieve_seconds.labels(str(done.kind)).observe(seconds)
        self._audit.operation(
            info,
            AnsweredOperation(
                done.kind,
                done.status,
                seconds,
                objects=done.matches + counts.completed + counts.warning,
                sop_class_uid=request.sop_class_uid,
                study_instance_uid=done.study,
                detail=f"{done.detail} to {destination}" if destination else done.detail,
            ),
        )
        failed = done.status not in {DimseStatus.SUCCESS, DimseStatus.CANCELLED}
        if not (failed or self._log_answered()):
            return
        bound = log.bind(
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            status=status,
            detail=done.detail,
            milliseconds=round(seconds * 1000, 2),
        )
        say = bound.warning if failed else bound.info
        if done.kind is TransactionKind.C_FIND:
            say("find.answered", matches=done.matches)
        else:
            say(
                "retrieve.answered",
                operation=str(done.kind),
                destination=destination,
                completed=counts.completed,
                failed=counts.failed,
                warning=counts.warning,
            )


def warn_of_misread(keywords: Sequence[str], info: AssociationInfo) -> None:
    """Log which keys of an identifier cannot be decoded in their character set."""
    if keywords:
        log.warning(
            "query.key_misread",
            association_id=info.association_id,
            calling_ae=info.calling_ae,
            keywords=list(keywords),
        )


def only_study(conditions: Mapping[IndexedAttribute, Condition]) -> str | None:
    """Return the Study Instance UID if an identifier names exactly one."""
    asked = conditions.get(BY_KEYWORD["StudyInstanceUID"])
    return asked.values[0] if isinstance(asked, Texts) and len(asked.values) == 1 else None
