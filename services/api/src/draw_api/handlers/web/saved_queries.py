"""Saved queries: their list, saving, running and deleting them."""

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import OPENED, fingerprint, validate_form
from draw_api.handlers.web.languages import _
from draw_api.handlers.web.pages import page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId
from draw_api.handlers.web.queries import SavedQueriesView, asked_by, form_again
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.queries import NewQuery
from draw_api.models.saved_queries import NewSavedQuery, SavedQuery
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

MayRunQueries = Annotated[Principal, page_requires(Permission.RUN_QUERIES)]
RunQueriesAct = Annotated[SubmittedForm, form_requires(Permission.RUN_QUERIES)]

ANOTHER: Final = message(
    "You have another saved query of this name. Nothing was saved. Save again to replace it, or"
    " choose another name."
)


@router.get("/queries/saved")
def saved_queries(
    request: Request, by: MayRunQueries, work: InWork, cursor: Cursor = None
) -> Response:
    """List the saved queries."""
    nodes = work.nodes.offered()
    return page(
        request, by, SavedQueriesView(nodes, work.saved_queries.saved(by, cursor, ON_A_PAGE))
    )


@router.post("/queries/saved")
def save(request: Request, act: RunQueriesAct, work: InWork) -> Response:
    """Save the query in the form under a name."""
    name, shared = act.form.text("saved_name"), act.form.has("saved_shared")
    opened = ""
    try:
        query = validate_form(NewQuery, asked_by(act.form))
        wanted = validate_form(NewSavedQuery, {"name": name, "shared": shared, "query": query})
        there = work.saved_queries.own(act.by, wanted.name)
        opened = fingerprint(SavedQuery, there) if there else ""
        if there and act.form.text(OPENED) != opened:
            problems = (FieldProblem("name", ANOTHER),)
            return form_again(request, act, work, problems, opened=opened)
        work.saved_queries.save(act.by, wanted)
    except Invalid as error:
        return form_again(request, act, work, error.problems)
    except Conflict as error:
        problems = (FieldProblem("name", str(error)),)
        return form_again(request, act, work, problems, opened=opened)
    return redirect("/queries", "query-saved")


@router.post("/queries/saved/{saved_id}/run")
def run_saved(act: RunQueriesAct, work: InWork, saved_id: RowId) -> Response:
    """Send a saved query."""
    return redirect(f"/queries/{work.saved_queries.run(act.by, saved_id).id}")


@router.get("/queries/saved/{saved_id}/remove")
def ask_remove_saved(
    request: Request, by: MayRunQueries, work: InWork, saved_id: RowId
) -> Response:
    """Ask for confirmation before a saved query is deleted."""
    saved = work.saved_queries.one(by, saved_id)
    shared = _("Nobody else can run it any more either.") if saved.shared else ""
    view = ConfirmView(
        title=_("Delete this saved query?"),
        text=shared or _("The queries that were sent with it stay."),
        button=_("Delete"),
        action=f"/queries/saved/{saved_id}/remove",
        back="/queries",
        about=((_("Name"), saved.name),),
    )
    return page(request, by, view)


@router.post("/queries/saved/{saved_id}/remove")
def remove_saved(act: RunQueriesAct, work: InWork, saved_id: RowId) -> Response:
    """Delete a saved query."""
    work.saved_queries.remove(act.by, saved_id)
    return redirect("/queries", "saved-query-removed")
