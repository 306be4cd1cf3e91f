"""Batch queries: a list of questions, each node's answers, and how much of them is here."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, ClassVar, Final, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.languages import _
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor
from draw_api.handlers.web.queries import options_of, queryable_nodes
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.batch_queries import (
    BatchLine,
    BatchQuery,
    BatchQueryWithSums,
    Found,
    RetrieveFound,
    Wanted,
)
from draw_api.models.jobs import FINISHED
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.texts import whole_numbers
from draw_api.services.csv_lists import text_of
from draw_api.services.query_lists import QueryList, query_list_of_text
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

MayReadQueries = Annotated[Principal, page_requires(Permission.READ_QUERIES)]
MayRunQueries = Annotated[Principal, page_requires(Permission.RUN_QUERIES)]
RunQueriesAct = Annotated[SubmittedForm, form_requires(Permission.RUN_QUERIES)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

PREVIEWED: Final = 50
STATES: Final[tuple[str, ...]] = get_args(Found)
HERE: Final[tuple[str, ...]] = get_args(Wanted)
Choice = Annotated[str, Query(max_length=20)]
"""The value of a select; an empty or invalid one means all."""


@dataclass(frozen=True, slots=True)
class ListView(View):
    """A list of questions, and what it would ask."""

    template: ClassVar[str] = "batch-queries/form.html.jinja"

    nodes: list[Node]
    chosen: frozenset[int]
    text: str = ""
    asked: QueryList | None = None
    problems: tuple[FieldProblem, ...] = ()
    previewed: ClassVar[int] = PREVIEWED
    example: ClassVar[str] = "PatientID;StudyDate;Modality\n0042;20260101-;CT"

    def cells(self, number: int) -> list[str]:
        """Return the keys of a line in the order of the columns."""
        if self.asked is None:
            return []
        keys = self.asked.lines[number].keys
        return [keys.get(column, "") for column in self.asked.columns]


@dataclass(frozen=True, slots=True)
class HistoryView(View):
    """The lists asked so far."""

    template: ClassVar[str] = "batch-queries/list.html.jinja"

    found: Page[BatchQuery]


@dataclass(frozen=True, slots=True)
class BatchQueryView(View):
    """One list with what was found."""

    template: ClassVar[str] = "batch-queries/detail.html.jinja"
    fragment: ClassVar[str] = "batch-queries/_results.html.jinja"

    query: BatchQueryWithSums
    lines: Page[BatchLine]
    node_id: int | None
    state: str
    here: str
    states: ClassVar[tuple[str, ...]] = STATES

    @property
    def over(self) -> bool:
        """Whether no more answers will come."""
        return self.query.state in FINISHED

    @property
    def total(self) -> int:
        """How many answers there will be."""
        return self.query.lines * len(self.query.nodes)

    def keys_of(self, line: BatchLine) -> list[tuple[str, str]]:
        """Return the keys of a line; a template would take `keys` for the model's method."""
        return list(line.keys.items())


@router.get("/batch-queries")
def history(request: Request, by: MayReadQueries, work: InWork, cursor: Cursor = None) -> Response:
    """Show the lists, the latest first."""
    return page(request, by, HistoryView(work.batch_queries.batch_queries(cursor, ON_A_PAGE)))


@router.get("/batch-queries/new")
def form(request: Request, by: MayRunQueries, work: InWork) -> Response:
    """Show the form for a list."""
    nodes = queryable_nodes(work)
    return page(request, by, ListView(nodes, frozenset(node.id for node in nodes[:1])))


@router.post("/batch-queries/preview")
def preview(request: Request, act: RunQueriesAct, work: InWork) -> Response:
    """Show what would be asked, without asking."""
    view = _parse_form(work, act.form)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if view.problems else HTTPStatus.OK
    return page(request, act.by, view, status=status)


@router.post("/batch-queries/new")
def start(request: Request, act: RunQueriesAct, work: InWork) -> Response:
    """Ask the questions of the list."""
    view = _parse_form(work, act.form)
    if view.asked is None:
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    made = work.batch_queries.ask(act.by, view.asked, sorted(view.chosen))
    return redirect(f"/batch-queries/{made.id}")


@router.get("/batch-queries/{query_id}")
def batch_query(
    request: Request,
    by: MayReadQueries,
    work: InWork,
    query_id: UUID,
    node_id: Choice = "",
    state: Choice = "",
    here: Choice = "",
    cursor: Cursor = None,
) -> Response:
    """Show each node's answer to each line."""
    view = _look(work, query_id, node_id=node_id, state=state, here=here, cursor=cursor)
    return page(request, by, view)


@router.get("/live/batch-queries/{query_id}", dependencies=[costs(RequestCost.STREAMS)])
def live(
    request: Request,
    _: MayReadQueries,
    query_id: UUID,
    node_id: Choice = "",
    state: Choice = "",
    here: Choice = "",
    cursor: Cursor = None,
) -> StreamingResponse:
    """Stream the nodes' answers."""

    def look(work: UnitOfWork) -> BatchQueryView:
        return _look(work, query_id, node_id=node_id, state=state, here=here, cursor=cursor)

    return stream(request, look, f"/batch-queries/{query_id}", Permission.READ_QUERIES)


@router.post("/batch-queries/{query_id}/again")
def again(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Ask the same list again."""
    return redirect(f"/batch-queries/{work.batch_queries.ask_again(act.by, query_id).id}")


@router.post("/batch-queries/{query_id}/cancel")
def cancel(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Cancel a list."""
    work.batch_queries.cancel(act.by, query_id)
    return redirect(f"/batch-queries/{query_id}", "job-cancelled")


@router.get("/batch-queries/{query_id}/remove")
def ask_remove(request: Request, by: MayRunQueries, work: InWork, query_id: UUID) -> Response:
    """Ask for confirmation before a list is deleted."""
    work.batch_queries.batch_query(query_id)
    here = f"/batch-queries/{query_id}"
    view = ConfirmView(
        title=_("Delete this batch query?"),
        text=_("The list is deleted with all its answers; retrieved images remain."),
        button=_("Delete"),
        action=f"{here}/remove",
        back=here,
    )
    return page(request, by, view)


@router.post("/batch-queries/{query_id}/remove")
def remove(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Delete a list."""
    work.batch_queries.remove(act.by, query_id)
    return redirect("/batch-queries", "query-removed")


@router.post("/batch-queries/{query_id}/retrieve")
def retrieve(act: RunJobsAct, work: InWork, query_id: UUID) -> Response:
    """Retrieve the ticked studies, or all that are missing."""
    wanted = options_of(act.form)
    wanted.pop("force", None)
    if act.form.text("which") == "missing":
        wanted["several"] = act.form.has("several")
    else:
        wanted["studies"] = _read_ticked(act.form)
        if not wanted["studies"]:
            raise Conflict(message("Nothing is selected. Tick what to retrieve."))
    begun = work.batch_queries.retrieve(act.by, query_id, validate_form(RetrieveFound, wanted))
    notice = "job-created" if begun.studies else "job-known"
    if len(begun.retrieves) > 1:
        return redirect("/jobs", notice)
    return redirect(f"/jobs/{begun.retrieves[0].id}", notice)


def _read_ticked(form: CheckedForm) -> list[dict[str, int | str]]:
    """Return the ticked studies: node and study, separated by a blank."""
    pairs = [text.partition(" ") for text in form.texts("selected")]
    return [
        {"node_id": number, "study_instance_uid": study}
        for node, _, study in pairs
        for number in whole_numbers([node])
    ]


def _parse_form(work: UnitOfWork, form: CheckedForm) -> ListView:
    text = form.exact("text")
    chosen = frozenset(whole_numbers(form.texts("node_id")))
    asked: QueryList | None = None
    problems: tuple[FieldProblem, ...] = ()
    try:
        text = text_of(form.file("file") or text.encode())
        asked = query_list_of_text(text)
        work.batch_queries.require(asked, sorted(chosen))
    except Invalid as error:
        asked, problems = None, error.problems
    return ListView(queryable_nodes(work), chosen, text, asked, problems)


def _look(
    work: UnitOfWork, query_id: UUID, *, node_id: str, state: str, here: str, cursor: str | None
) -> BatchQueryView:
    query = work.batch_queries.batch_query(query_id)
    node = next((one for one in query.node_ids if str(one) == node_id), None)
    lines = work.batch_queries.lines(
        query_id,
        node_id=node,
        state=state if state in STATES else None,
        here=here if here in HERE else None,
        cursor=cursor,
        limit=ON_A_PAGE,
    )
    return BatchQueryView(query, lines, node, state, here)
