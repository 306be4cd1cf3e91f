"""A batch of retrieves from a CSV list, with a preview of every error before anything starts."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response

from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.jobs import notice_of
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.queries import options_of
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.nodes import Node
from draw_api.models.retrieves import RetrieveOptions, WantedItem
from draw_api.services.csv_lists import text_of
from draw_api.services.retrieve_lists import list_of_text
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import FieldProblem, Invalid

router = APIRouter(include_in_schema=False)

MayRunJobs = Annotated[Principal, page_requires(Permission.RUN_JOBS)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

PREVIEWED: Final = 50


@dataclass(frozen=True, slots=True)
class BatchView(View):
    """The list, and the items that would be made of it."""

    template: ClassVar[str] = "jobs/batch.html.jinja"

    nodes: list[Node]
    node_id: str
    text: str
    method: str
    priority: str
    items: list[WantedItem]
    doubts: list[FieldProblem]
    problems: tuple[FieldProblem, ...]
    previewed: ClassVar[int] = PREVIEWED
    example: ClassVar[str] = "StudyInstanceUID\n1.2.840.113619.2.55.3"


@router.get("/batches/new")
def form(request: Request, by: MayRunJobs, work: InWork) -> Response:
    """Show the form for a list."""
    return page(request, by, BatchView(_nodes(work), "", "", "auto", "5", [], [], ()))


@router.post("/batches/preview")
def preview(request: Request, act: RunJobsAct, work: InWork) -> Response:
    """Show the items of the list without retrieving them."""
    view = _parse_form(work, act.form)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if view.problems else HTTPStatus.OK
    return page(request, act.by, view, status=status)


@router.post("/batches/new")
def start(request: Request, act: RunJobsAct, work: InWork) -> Response:
    """Retrieve the items of the list."""
    view = _parse_form(work, act.form)
    if view.problems:
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    options = validate_form(RetrieveOptions, options_of(act.form) | {"node_id": view.node_id})
    asked = work.retrieves.create(act.by, options, view.items)
    return redirect(f"/jobs/{asked.retrieve.id}", notice_of(asked))


def _parse_form(work: UnitOfWork, form: CheckedForm) -> BatchView:
    text = form.exact("text")
    items: list[WantedItem] = []
    doubts: list[FieldProblem] = []
    problems: tuple[FieldProblem, ...] = ()
    try:
        text = text_of(form.file("file") or text.encode())
        found = list_of_text(text)
        validate_form(RetrieveOptions, options_of(form) | {"node_id": form.text("node_id")})
    except Invalid as error:
        problems = error.problems
    else:
        items, doubts = found.items, found.doubts
    return BatchView(
        nodes=_nodes(work),
        node_id=form.text("node_id"),
        text=text,
        method=form.text("method"),
        priority=form.text("priority"),
        items=items,
        doubts=doubts,
        problems=problems,
    )


def _nodes(work: UnitOfWork) -> list[Node]:
    nodes = work.nodes.offered()
    return [node for node in nodes if node.active and (node.supports_move or node.supports_get)]
