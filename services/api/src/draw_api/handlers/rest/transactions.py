"""The transaction log."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.identity import requires
from draw_api.handlers.problems import responses
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId, SearchText
from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.access import Principal
from draw_api.models.moments import Moment
from draw_api.models.paging import Page
from draw_api.models.permissions import Permission
from draw_api.models.transactions import ChainReport, KnownHead, Transaction, TransactionCriteria
from draw_api.services.transactions import pages
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome

router = APIRouter(prefix="/api/v1/transactions", tags=["transactions"])

MayReadTransactions = Annotated[Principal, requires(Permission.READ_TRANSACTIONS)]
MayVerifyTransactions = Annotated[Principal, requires(Permission.VERIFY_TRANSACTIONS)]

EXPORT_PAGE: Final = 1000
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


def _csv(factory: WorkFactory, criteria: TransactionCriteria) -> Iterator[str]:
    """Yield the table in pieces, each read in its own transaction."""

    def read(cursor: str | None, limit: int) -> Page[Transaction]:
        with factory() as work:
            return work.transactions.transactions(criteria, cursor, limit)

    yield csv_of([COLUMNS])
    for page in pages(read, EXPORT_PAGE):
        yield csv_of([[getattr(item, name) for name in COLUMNS] for item in page.items])
