"""Standing queries: their list, the form, the history of runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import (
    error_of,
    fingerprint,
    require_unchanged,
    validate_form,
)
from draw_api.handlers.web.languages import N_, _, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId
from draw_api.handlers.web.queries import queryable_nodes, sent_keys
from draw_api.handlers.web.query_keys import SPANS
from draw_api.handlers.web.schedules import (
    DAYS,
    EVERY,
    HOURS,
    ChosenSchedule,
    chosen_in,
    chosen_of,
    spoken,
)
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.standing_queries import (
    NewStandingQuery,
    StandingQuery,
    StandingQueryChange,
    StandingQueryRun,
)
from draw_api.models.texts import whole_numbers
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound

router = APIRouter(include_in_schema=False)

MayReadQueries = Annotated[Principal, page_requires(Permission.READ_QUERIES)]
MayManage = Annotated[Principal, page_requires(Permission.MANAGE_STANDING_QUERIES)]
ManageAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_STANDING_QUERIES)]

HOME: Final = "/queries/standing"
NEW: Final = f"{HOME}/new"
RUN_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "asking": ("running", N_("Asking")),
    "retrieving": ("running", N_("Retrieving")),
    "complete": ("complete", N_("Complete")),
    "partial": ("partial", N_("Partial")),
    "failed": ("failed", N_("Failed")),
    "skipped": ("warning", N_("Skipped")),
}
"""By the state of a run, its badge and its word."""
SHOWN_ELSEWHERE: Final = frozenset({"name", "at", "schedule", "zone", "most"})
"""Fields that say themselves what is wrong with them."""


@dataclass(frozen=True, slots=True)
class StandingView(View):
    """What the pages of standing queries have in common."""

    run_states: ClassVar[Mapping[str, tuple[str, str]]] = RUN_STATES
    spans: ClassVar[dict[str, str]] = SPANS

    nodes: list[Node]

    @property
    def names(self) -> dict[int, str]:
        """The names of the nodes by their ids."""
        return {node.id: node.name for node in self.nodes}

    def keys_of(self, standing: StandingQuery) -> list[tuple[str, Any]]:
        """Return the keys that narrow a query; a template would take `keys` for a method."""
        return sent_keys(standing.keys)

    def spoken(self, standing: StandingQuery) -> str:
        """Return a schedule in words."""
        return spoken(standing.schedule)


@dataclass(frozen=True, slots=True)
class StandingListView(StandingView):
    """All standing queries."""

    template: ClassVar[str] = "standing-queries/list.html.jinja"

    found: Sequence[StandingQuery]


@dataclass(frozen=True, slots=True)
class StandingDetailView(StandingView):
    """One standing query with its runs."""

    template: ClassVar[str] = "standing-queries/detail.html.jinja"

    standing: StandingQuery
    runs: Page[StandingQueryRun]


@dataclass(frozen=True, slots=True)
class StandingFormView(View):
    """The form of a standing query."""

    template: ClassVar[str] = "standing-queries/form.html.jinja"
    every: ClassVar[Mapping[str, str]] = EVERY
    weekdays: ClassVar[Mapping[str, str]] = DAYS
    hours: ClassVar[tuple[str, ...]] = HOURS
    spans: ClassVar[dict[str, str]] = SPANS

    title: str
    action: str
    back: str
    nodes: list[Node]
    values: Mapping[str, Any]
    chosen: ChosenSchedule
    problems: tuple[FieldProblem, ...] = ()
    problem: str = ""
    opened: str = ""
    fresh: bool = False
    """Whether the zone is still the browser's."""
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sent(self) -> list[tuple[str, Any]]:
        """The keys that narrow the query."""
        return [one for one in sent_keys(self.keys) if one[0] != "StudyDate"]

    @property
    def keys_text(self) -> str:
        """The keys as the form sends them back."""
        return json.dumps(dict(self.keys))

    @property
    def date(self) -> str:
        """The days in the query, if they are no span."""
        return str(self.keys.get("StudyDate", ""))

    def error(self, name: str) -> str:
        """Return the problem of a field."""
        return said(error_of(name, self.problems))

    @property
    def general(self) -> str:
        """The problems of the query as a whole."""
        found = [said(p.message) for p in self.problems if p.field not in SHOWN_ELSEWHERE]
        return "; ".join([*([self.problem] if self.problem else []), *found])


@router.get(HOME)
def standing_queries(request: Request, by: MayReadQueries, work: InWork) -> Response:
    """List the standing queries."""
    return page(request, by, StandingListView(work.nodes.offered(), work.standing_queries.all()))


@router.get(NEW)
def new(
    request: Request,
    by: MayManage,
    work: InWork,
    query: Annotated[UUID | None, Query()] = None,
    saved: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Show the form for a query that was asked, for a saved one, or for every study."""
    values: dict[str, Any] = {
        "name": "", "zone": "UTC", "study_dates": "yesterday", "retrieve": True, "most": "100",
        "active": True, "limit": 0, "node_ids": [], "keys": {},
    }  # fmt: skip
    if query is not None:
        asked = work.queries.query(query)
        dates = "" if asked.keys.get("StudyDate") else "yesterday"
        values |= {
            "keys": dict(sent_keys(asked.keys)), "node_ids": asked.node_ids, "study_dates": dates,
        }  # fmt: skip
    elif saved is not None:
        kept = work.saved_queries.to_schedule(by, saved)
        values |= {
            "name": kept.name, "keys": dict(sent_keys(kept.keys)), "node_ids": kept.node_ids,
            "limit": kept.limit, "study_dates": kept.study_dates, "zone": kept.zone or "UTC",
        }  # fmt: skip
    view = _form(work, _("Ask a query regularly"), NEW, HOME, values, fresh=values["zone"] == "UTC")
    return page(request, by, view)


@router.post(NEW)
def add(request: Request, act: ManageAct, work: InWork) -> Response:
    """Ask a query by a schedule from now on."""
    chosen, values = chosen_in(act.form), _values(act.form)
    try:
        made = work.standing_queries.add(act.by, _checked(NewStandingQuery, chosen, values))
    except (Invalid, Conflict) as error:
        title = _("Ask a query regularly")
        view = _form(work, title, NEW, HOME, values, error=error, chosen=chosen)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(f"{HOME}/{made.id}", "standing-query-saved")


@router.get(f"{HOME}/{{standing_query_id}}")
def standing_query(
    request: Request,
    by: MayReadQueries,
    work: InWork,
    standing_query_id: RowId,
    cursor: Cursor = None,
) -> Response:
    """Show a standing query with its runs."""
    view = StandingDetailView(
        work.nodes.offered(),
        work.standing_queries.one(standing_query_id),
        work.standing_queries.runs(standing_query_id, cursor, ON_A_PAGE),
    )
    return page(request, by, view)


@router.get(f"{HOME}/{{standing_query_id}}/edit")
def edit(request: Request, by: MayManage, work: InWork, standing_query_id: RowId) -> Response:
    """Show the form of a standing query."""
    found = work.standing_queries.one(standing_query_id)
    here = f"{HOME}/{standing_query_id}"
    view = _form(
        work,
        found.name,
        f"{here}/edit",
        here,
        found.model_dump(),
        chosen=chosen_of(found.schedule),
        opened=fingerprint(StandingQuery, _settings_of(found)),
    )
    return page(request, by, view)


@router.post(f"{HOME}/{{standing_query_id}}/edit")
def save(request: Request, act: ManageAct, work: InWork, standing_query_id: RowId) -> Response:
    """Change a standing query."""
    chosen, values = chosen_in(act.form), _values(act.form)
    here, opened = f"{HOME}/{standing_query_id}", ""
    try:
        found = work.standing_queries.one(standing_query_id)
        opened = fingerprint(StandingQuery, _settings_of(found))
        require_unchanged(act.form, opened)
        wanted = _checked(StandingQueryChange, chosen, values)
        work.standing_queries.change(act.by, standing_query_id, wanted)
    except (Invalid, Conflict, NotFound) as error:
        action = NEW if isinstance(error, NotFound) else f"{here}/edit"
        view = _form(
            work, str(values["name"]), action, here, values,
            error=error, chosen=chosen, opened=opened,
        )  # fmt: skip
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(here, "standing-query-saved")


@router.post(f"{HOME}/{{standing_query_id}}/run")
def run(act: ManageAct, work: InWork, standing_query_id: RowId) -> Response:
    """Run a standing query now."""
    work.standing_runs.run_now(act.by, standing_query_id)
    return redirect(f"{HOME}/{standing_query_id}", "standing-query-run")


@router.post(f"{HOME}/{{standing_query_id}}/pause")
def pause(act: ManageAct, work: InWork, standing_query_id: RowId) -> Response:
    """Stop asking a standing query until it is resumed."""
    change = StandingQueryChange(active=False)
    work.standing_queries.change(act.by, standing_query_id, change)
    return redirect(f"{HOME}/{standing_query_id}", "standing-query-paused")


@router.post(f"{HOME}/{{standing_query_id}}/resume")
def resume(act: ManageAct, work: InWork, standing_query_id: RowId) -> Response:
    """Ask a standing query by its schedule again."""
    change = StandingQueryChange(active=True)
    work.standing_queries.change(act.by, standing_query_id, change)
    return redirect(f"{HOME}/{standing_query_id}", "standing-query-resumed")


@router.get(f"{HOME}/{{standing_query_id}}/remove")
def ask_remove(request: Request, by: MayManage, work: InWork, standing_query_id: RowId) -> Response:
    """Ask for confirmation before a standing query is deleted."""
    found = work.standing_queries.one(standing_query_id)
    here = f"{HOME}/{standing_query_id}"
    view = ConfirmView(
        title=_("Delete this standing query?"),
        text=_("Its history is deleted with it; what it is retrieving goes on."),
        button=_("Delete"),
        action=f"{here}/remove",
        back=here,
        about=((_("Name"), found.name),),
    )
    return page(request, by, view)


@router.post(f"{HOME}/{{standing_query_id}}/remove")
def remove(act: ManageAct, work: InWork, standing_query_id: RowId) -> Response:
    """Delete a standing query."""
    work.standing_queries.remove(act.by, standing_query_id)
    return redirect(HOME, "standing-query-removed")


def _settings_of(found: StandingQuery) -> StandingQuery:
    """Return what somebody has chosen, without what changes by itself."""
    return found.model_copy(
        update={"next_runs": [], "last_run": None, "updated_at": found.created_at}
    )


def _values(form: CheckedForm) -> dict[str, Any]:
    """Return the values of the form; keys that are no document of keys are none."""
    try:
        keys = json.loads(form.text("keys") or "{}")
    except ValueError:
        keys = None
    return {
        "name": form.text("name"),
        "zone": form.text("zone"),
        "study_dates": form.text("study_dates"),
        "retrieve": form.has("retrieve"),
        "most": form.text("most"),
        "active": form.has("active"),
        "limit": form.text("limit") or "0",
        "node_ids": whole_numbers(form.texts("node_id")),
        "keys": keys if isinstance(keys, dict) else {},
    }


def _checked(model: Any, chosen: ChosenSchedule, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of two models
    """Return the model of the form's values; raises Invalid."""
    keys = dict(values["keys"])
    if values["study_dates"]:
        keys.pop("StudyDate", None)
    limit = str(values["limit"])
    query = {
        "keys": keys,
        "node_ids": values["node_ids"],
        "study_dates": values["study_dates"],
        "limit": int(limit) if limit.isdecimal() and len(limit) < len("1000000") else limit,
    }
    given = {name: values[name] for name in ("name", "zone", "retrieve", "most", "active")}
    wrong = chosen.problems()
    # With a time that is none there is no schedule either: one of the two is said.
    schedule = "0 0 * * *" if wrong else chosen.line()
    try:
        found = validate_form(model, {**given, "query": query, "schedule": schedule})
    except Invalid as error:
        raise Invalid([*wrong, *error.problems]) from error
    if wrong:
        raise Invalid(wrong)
    return found


def _form(
    work: UnitOfWork,
    title: str,
    action: str,
    back: str,
    values: Mapping[str, Any],
    *,
    error: Invalid | Conflict | NotFound | None = None,
    chosen: ChosenSchedule | None = None,
    opened: str = "",
    fresh: bool = False,
) -> StandingFormView:
    return StandingFormView(
        title=title,
        action=action,
        back=back,
        nodes=queryable_nodes(work),
        values=values,
        chosen=chosen or ChosenSchedule(),
        problems=error.problems if isinstance(error, Invalid) else (),
        problem=said(str(error)) if isinstance(error, Conflict | NotFound) else "",
        opened=opened,
        fresh=fresh,
        keys=values["keys"],
    )
