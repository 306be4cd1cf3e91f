"""The transaction log."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId, SearchText
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.paging import Page
from draw_api.models.transactions import (
    AssociationActivity,
    AssociationCriteria,
    AssociationSummary,
    AssociationTrouble,
    AuditCriteria,
    AuditGroup,
    AuditLine,
    ChainReport,
    KnownHead,
    LoggedStudy,
    Transaction,
    TransactionCriteria,
)
from draw_api.services.transactions import pages
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.moments import Moment
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1/transactions", tags=["transactions"])

MayReadTransactions = Annotated[Principal, requires(Permission.READ_TRANSACTIONS)]
MayVerifyTransactions = Annotated[Principal, requires(Permission.VERIFY_TRANSACTIONS)]

EXPORT_PAGE: Final = 1000
LINE_COLUMNS: Final = tuple(name for name in AuditLine.model_fields if name != "study")
STUDY_COLUMNS: Final = tuple(n for n in LoggedStudy.model_fields if n != "study_instance_uid")
COLUMNS: Final = (*Transaction.model_fields, *Transaction.model_computed_fields)


def _criteria(  # noqa: PLR0917 - query parameters, given by name
    kind: Annotated[list[TransactionKind] | None, Query(examples=[["c-store"]])] = None,
    outcome: Annotated[list[TransactionOutcome] | None, Query(examples=[["failure"]])] = None,
    ae_title: Annotated[SearchText, Query(description="calling or called AE title")] = "",
    peer_address: Annotated[SearchText, Query(examples=["192.0.2.17"])] = "",
    uid: Annotated[
        SearchText, Query(description="Study or SOP Instance UID, or association identifier")
    ] = "",
    status: Annotated[
        int | None, Query(ge=0, le=0xFFFF, description="DIMSE status", examples=[42752])
    ] = None,
    actor: Annotated[SearchText, Query(examples=["admin"])] = "",
    action: Annotated[SearchText, Query(examples=["config.update"])] = "",
    since: Annotated[Moment | None, Query(description="from this moment on")] = None,
    until: Annotated[Moment | None, Query(description="before this moment")] = None,
) -> TransactionCriteria:
    return TransactionCriteria(
        kinds=tuple(kind or ()),
        outcomes=tuple(outcome or ()),
        ae_title=ae_title.strip(),
        peer_address=peer_address.strip(),
        uid=uid.strip(),
        status=status,
        actor=actor,
        action=action,
        since=since,
        until=until,
    )


Criteria = Annotated[TransactionCriteria, Depends(_criteria)]


@router.get("")
def transactions(
    _: MayReadTransactions,
    work: InWork,
    criteria: Criteria,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Transaction]:
    """Return lines of the transaction log, newest first.

    A page examines a bounded number of lines: it may hold few or none and still have a
    `next_cursor`, which continues with older ones.
    """
    return work.transactions.transactions(criteria, cursor, limit)


@router.get(
    "/export.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "one line for each transaction"}},
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export(
    request: Request, by: MayReadTransactions, work: InWork, criteria: Criteria
) -> StreamingResponse:
    """Return every line that matches as CSV, newest first; no cell can be a formula."""
    work.transactions.transactions(criteria, None, 1)
    work.transactions.begin_export(by)
    return StreamingResponse(
        _csv(request.app.state.work, criteria),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="transactions.csv"'},
    )


@router.get("/associations")
def associations(
    _: MayReadTransactions,
    work: InWork,
    trouble: Annotated[
        AssociationTrouble | None,
        Query(description="`any`: something was not successful; `refused`: images were not stored"),
    ] = None,
    activity: Annotated[
        AssociationActivity | None, Query(description="what the peer did in it")
    ] = None,
    peer: Annotated[SearchText, Query(description="AE title or address")] = "",
    since: Annotated[Moment | None, Query(description="from this moment on")] = None,
    until: Annotated[Moment | None, Query(description="before this moment")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[AssociationSummary]:
    """Return associations with what was done in them, newest first; open ones come first.

    An association is where its newest line that matches is. `/transactions` with its identifier as
    `uid` returns its lines.
    """
    criteria = AssociationCriteria(trouble, activity, peer.strip(), since, until)
    return work.log_views.associations(criteria, cursor, limit)


def _audit_criteria(
    user: Annotated[SearchText, Query(description="a user, with all tokens of the user")] = "",
    group: Annotated[AuditGroup | None, Query(description="what was done")] = None,
    patient_id: Annotated[SearchText, Query(examples=["KN100234"])] = "",
    since: Annotated[Moment | None, Query(description="from this moment on")] = None,
    until: Annotated[Moment | None, Query(description="before this moment")] = None,
) -> AuditCriteria:
    return AuditCriteria(user.strip(), group, patient_id.strip(), since, until)


WhichActions = Annotated[AuditCriteria, Depends(_audit_criteria)]


@router.get("/audit")
def audit(
    by: MayReadTransactions,
    work: InWork,
    criteria: WhichActions,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[AuditLine]:
    """Return what users did, newest first, with the study that it was done to.

    Whose study was deleted is returned, and found by patient ID, only with the permission
    `deletions.read`.
    """
    return work.log_views.audit_lines(by, criteria, cursor, limit)


@router.get(
    "/audit.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "one line for each action"}},
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export_audit(
    request: Request, by: MayReadTransactions, work: InWork, criteria: WhichActions
) -> StreamingResponse:
    """Return every action that matches as CSV, newest first; no cell can be a formula."""
    work.log_views.audit_lines(by, criteria, None, 1)
    work.transactions.begin_export(by, "audit.export")
    return StreamingResponse(
        _audit_csv(request.app.state.work, by, criteria),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="audit.csv"'},
    )


@router.post("/verify", dependencies=[costs(RequestCost.SUMS)])
def verify(by: MayVerifyTransactions, work: InWork, body: KnownHead | None = None) -> ChainReport:
    """Compute the hash chain again: is every line as it was written?

    A head that was stored elsewhere shows whether the whole chain was recomputed.
    """
    return work.transactions.verify(by, body)


@router.get("/{transaction_id}", responses=responses(HTTPStatus.NOT_FOUND))
def one(_: MayReadTransactions, work: InWork, transaction_id: RowId) -> Transaction:
    """Return one line of the transaction log."""
    return work.transactions.one(transaction_id)


def _audit_csv(factory: WorkFactory, by: Principal, criteria: AuditCriteria) -> Iterator[str]:
    """Yield the table in pieces, each read in its own transaction."""

    def read(cursor: str | None, limit: int) -> Page[AuditLine]:
        with factory() as work:
            return work.log_views.audit_lines(by, criteria, cursor, limit)

    yield csv_of([(*LINE_COLUMNS, *STUDY_COLUMNS)])
    for page in pages(read, EXPORT_PAGE):
        yield csv_of(
            [
                [
                    *(getattr(line, name) for name in LINE_COLUMNS),
                    *(_cell(line.study, name) for name in STUDY_COLUMNS),
                ]
                for line in page.items
            ]
        )


def _cell(study: LoggedStudy | None, name: str) -> object:
    value = getattr(study, name) if study else None
    return " ".join(value) if isinstance(value, list) else value


def _csv(factory: WorkFactory, criteria: TransactionCriteria) -> Iterator[str]:
    """Yield the table in pieces, each read in its own transaction."""

    def read(cursor: str | None, limit: int) -> Page[Transaction]:
        with factory() as work:
            return work.transactions.transactions(criteria, cursor, limit)

    yield csv_of([COLUMNS])
    for page in pages(read, EXPORT_PAGE):
        yield csv_of([[getattr(item, name) for name in COLUMNS] for item in page.items])
