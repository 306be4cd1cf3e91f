"""Rules that are applied to the archive: a form with a preview, and how far each batch is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import error_of, fingerprint, lines, validate_form
from draw_api.handlers.web.languages import N_, _, gettext, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, moment_of, picked
from draw_api.handlers.web.routing import HOME, MayReadRouting
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.paging import Page
from draw_api.models.routing_trials import BatchOrder, RoutingBatch, RoutingBatchPreview
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, Refusal
from draw_shared.routing.batches import document_of_batch
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayApplyRouting = Annotated[Principal, page_requires(Permission.APPLY_ROUTING)]
ApplyRoutingAct = Annotated[SubmittedForm, form_requires(Permission.APPLY_ROUTING)]
RoutingBatchId = Annotated[UUID, Path()]

BATCHES: Final = f"{HOME}/batches"
NEW: Final = f"{BATCHES}/new"
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("running", N_("Running")),
    "complete": ("complete", N_("Complete")),
    "cancelled": ("partial", N_("Cancelled")),
    "failed": ("failed", N_("Failed")),
}
"""By the state of a batch, its badge and its word."""
OTHER_RULES: Final = N_(
    "The rules have changed since the preview. Nothing was applied; look at what they would do now."
)
OTHER_SERIES: Final = N_(
    "What is asked for has changed since the preview. Nothing was applied; look at what that would"
    " do."
)
PREVIEWED: Final = "previewed"
"""The field with the fingerprint of the order that was previewed."""


@dataclass(frozen=True, slots=True)
class RoutingBatchListView(View):
    """The batches, newest first."""

    template: ClassVar[str] = "routing/batches.html.jinja"
    fragment: ClassVar[str] = "routing/_batches.html.jinja"
    states: ClassVar[Mapping[str, tuple[str, str]]] = STATES

    found: Page[RoutingBatch]


@dataclass(frozen=True, slots=True)
class RoutingBatchFormView(View):
    """The criteria of a batch, and what it would do."""

    template: ClassVar[str] = "routing/batch.html.jinja"

    usable: list[str]
    """The names of the rules that a batch can apply."""
    received_from: str = ""
    received_to: str = ""
    modality: str = ""
    studies: str = ""
    rules: tuple[str, ...] = ()
    previewed: RoutingBatchPreview | None = None
    order: str = ""
    """The fingerprint of the order that was previewed."""
    problems: tuple[FieldProblem, ...] = ()
    problem: str = ""

    def error(self, name: str) -> str:
        """Return the problem of a field."""
        return error_of(name, self.problems)


@router.get(BATCHES)
def batches(request: Request, by: MayReadRouting, work: InWork, cursor: Cursor = None) -> Response:
    """List the batches."""
    return page(request, by, _look(work, cursor))


@router.get(f"/live{BATCHES}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadRouting, cursor: Cursor = None) -> StreamingResponse:
    """Stream how far the batches are."""
    return stream(request, lambda work: _look(work, cursor), BATCHES, Permission.READ_ROUTING)


@router.get(NEW)
def new(request: Request, by: MayApplyRouting, work: InWork) -> Response:
    """Show the form of a batch."""
    return page(request, by, RoutingBatchFormView(_usable(work)))


@router.post(f"{BATCHES}/preview", dependencies=[costs(RequestCost.SUMS)])
def preview(request: Request, act: ApplyRoutingAct, work: InWork) -> Response:
    """Show what a batch would do."""
    view = _view(act.form, work)
    try:
        wanted = validate_form(BatchOrder, _values(act.form))
        previewed = work.routing_batches.preview(act.by, wanted)
        view = replace(view, previewed=previewed, order=fingerprint(BatchOrder, wanted))
    except (Invalid, Conflict) as error:
        return _refused(request, act, view, error)
    return page(request, act.by, view)


@router.post(NEW, dependencies=[costs(RequestCost.SUMS)])
def start(request: Request, act: ApplyRoutingAct, work: InWork) -> Response:
    """Have the rules applied that a preview was made of."""
    view = _view(act.form, work)
    if act.form.text("version") != str(work.routing.number_in_force()):
        view = replace(view, problem=gettext(OTHER_RULES))
        return page(request, act.by, view, status=HTTPStatus.CONFLICT)
    try:
        wanted = validate_form(BatchOrder, _values(act.form))
        if act.form.text(PREVIEWED) != fingerprint(BatchOrder, wanted):
            view = replace(view, problem=gettext(OTHER_SERIES))
            return page(request, act.by, view, status=HTTPStatus.CONFLICT)
        work.routing_batches.start(act.by, wanted)
    except (Invalid, Conflict) as error:
        return _refused(request, act, view, error)
    return redirect(BATCHES, "routing-batch-started")


@router.get(f"{BATCHES}/{{batch_id}}/cancel")
def ask_cancel(
    request: Request, by: MayApplyRouting, work: InWork, batch_id: RoutingBatchId
) -> Response:
    """Ask for confirmation before a batch is ended."""
    found = work.routing_batches.one(batch_id)
    view = ConfirmView(
        title=_("End this batch?"),
        text=_("What it has decided until now is still delivered."),
        button=_("End the batch"),
        action=f"{BATCHES}/{batch_id}/cancel",
        back=BATCHES,
        about=((_("Rules"), ", ".join(found.rules) or _("all")),),
    )
    return page(request, by, view)


@router.post(f"{BATCHES}/{{batch_id}}/cancel")
def cancel(act: ApplyRoutingAct, work: InWork, batch_id: RoutingBatchId) -> Response:
    """End a batch."""
    work.routing_batches.cancel(act.by, batch_id)
    return redirect(BATCHES, "routing-batch-cancelled")


def _look(work: UnitOfWork, cursor: str | None) -> RoutingBatchListView:
    return RoutingBatchListView(work.routing_batches.page(cursor, ON_A_PAGE))


def _usable(work: UnitOfWork) -> list[str]:
    return [rule.name for rule in document_of_batch(work.routing.current().document, ()).rules]


def _view(form: CheckedForm, work: UnitOfWork) -> RoutingBatchFormView:
    """Return the form as it was sent."""
    return RoutingBatchFormView(
        _usable(work),
        received_from=_shown(form.text("received_from")),
        received_to=_shown(form.text("received_to")),
        modality=form.text("modality"),
        studies=form.text("study_instance_uids"),
        rules=tuple(form.texts("rule")),
    )


def _moment(typed: str) -> datetime | str | None:
    """Return the moment that was typed; what is none stays, to be refused."""
    return (moment_of(typed) or typed) if typed else None


def _shown(typed: str) -> str:
    return picked(moment_of(typed)) or typed


def _values(form: CheckedForm) -> dict[str, Any]:
    """Return the order of a form; REST's classes check it."""
    criteria = {
        "received_from": _moment(form.text("received_from")),
        "received_to": _moment(form.text("received_to")),
        "modality": form.text("modality"),
        "study_instance_uids": lines(form.text("study_instance_uids")),
    }
    return {"criteria": criteria, "rules": form.texts("rule")}


def _refused(
    request: Request, act: SubmittedForm, view: RoutingBatchFormView, error: Refusal
) -> Response:
    """Return the form with what is wrong in it."""
    found = error.problems if isinstance(error, Invalid) else ()
    shown = replace(
        view,
        problems=tuple(
            FieldProblem(one.field.removeprefix("criteria").removeprefix("."), one.message)
            for one in found
        ),
        problem="" if found else said(str(error)),
    )
    return page(request, act.by, shown, status=HTTPStatus.UNPROCESSABLE_ENTITY)
