"""The transaction log: filters, pages, one line in full, CSV."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId, SearchText, moment_of, picked
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.transactions import LoggedStudy, Transaction, TransactionCriteria
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome

router = APIRouter(include_in_schema=False)

MayReadTransactions = Annotated[Principal, page_requires(Permission.READ_TRANSACTIONS)]

EXPORT: Final = "/api/v1/transactions/export.csv"
HEXADECIMAL: Final = 16
MAX_STATUS: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class TransactionListView(View):
    """A page of the log."""

    template: ClassVar[str] = "transactions/list.html.jinja"
    fragment: ClassVar[str] = "transactions/_list.html.jinja"

    found: Page[Transaction]
    criteria: TransactionCriteria
    kinds: tuple[str, ...] = tuple(TransactionKind)
    outcomes: tuple[str, ...] = tuple(TransactionOutcome)

    @property
    def since(self) -> str:
        """The beginning of what is shown, as a picker has it, in UTC."""
        return picked(self.criteria.since)

    @property
    def until(self) -> str:
        """The end of what is shown, as a picker has it, in UTC."""
        return picked(self.criteria.until)

    @property
    def export(self) -> str:
        """The address of the same lines as CSV."""
        c = self.criteria
        said: list[tuple[str, str]] = [("kind", kind) for kind in c.kinds]
        said += [("outcome", outcome) for outcome in c.outcomes]
        said += [
            (name, value)
            for name, value in (
                ("ae_title", c.ae_title),
                ("peer_address", c.peer_address),
                ("uid", c.uid),
                ("status", "" if c.status is None else str(c.status)),
                ("actor", c.actor),
                ("since", c.since.isoformat() if c.since else ""),
                ("until", c.until.isoformat() if c.until else ""),
            )
            if value
        ]
        return f"{EXPORT}?{urlencode(said)}" if said else EXPORT


@dataclass(frozen=True, slots=True)
class TransactionView(View):
    """One line in full."""

    template: ClassVar[str] = "transactions/detail.html.jinja"

    line: Transaction
    study: LoggedStudy | None


@router.get("/transactions/lines")
def transactions(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadTransactions,
    work: InWork,
    kind: Annotated[list[str] | None, Query()] = None,
    outcome: Annotated[list[str] | None, Query()] = None,
    ae_title: SearchText = "",
    peer_address: SearchText = "",
    uid: SearchText = "",
    status: SearchText = "",
    actor: SearchText = "",
    since: SearchText = "",
    until: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List the log, newest first."""
    criteria = TransactionCriteria(
        kinds=tuple(one for one in TransactionKind if one in (kind or ())),
        outcomes=tuple(one for one in TransactionOutcome if one in (outcome or ())),
        ae_title=ae_title.strip(),
        peer_address=peer_address.strip(),
        uid=uid.strip(),
        status=status_of(status),
        actor=actor.strip(),
        since=moment_of(since),
        until=moment_of(until),
    )
    found = work.transactions.transactions(criteria, cursor, ON_A_PAGE)
    return page(request, by, TransactionListView(found, criteria))


@router.get("/transactions/{transaction_id}")
def one(request: Request, by: MayReadTransactions, work: InWork, transaction_id: RowId) -> Response:
    """Show one line."""
    line = work.transactions.one(transaction_id)
    return page(request, by, TransactionView(line, work.log_views.study_of(by, line)))


def status_of(text: str) -> int | None:
    """Return the DIMSE status in a text such as A700 or 0xA700."""
    try:
        found = int(text.strip().lower().removesuffix("h"), HEXADECIMAL) if text.strip() else None
    except ValueError:
        return None
    return found if found is None or 0 <= found <= MAX_STATUS else None
