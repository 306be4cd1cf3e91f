"""The tester of rules: what they say about something of the archive; and their replay."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.forms import error_of, validate_form
from draw_api.handlers.web.languages import N_, said
from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.parameters import SearchText
from draw_api.handlers.web.reasons import ShownReasons
from draw_api.handlers.web.routing import HOME, ChangeRoutingAct, MayChangeRouting, MayReadRouting
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.routing import RoutingQuestion
from draw_api.models.routing_trials import MAX_REPLAY_DAYS, ReplayQuestion, RoutingReplay
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

TEST: Final = f"{HOME}/test"
REPLAY: Final = f"{HOME}/replay"
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "series": ("series_instance_uid", N_("Series that is complete")),
    "study": ("study_instance_uid", N_("Study that is complete")),
    "object": ("sop_instance_uid", N_("Object that was received")),
}
"""By what can be asked about, the field of the question and its words."""


@dataclass(frozen=True, slots=True)
class RoutingTesterView(View):
    """What was asked, and what the rules in force say."""

    template: ClassVar[str] = "routing/test.html.jinja"
    kinds: ClassVar[Mapping[str, tuple[str, str]]] = KINDS

    kind: str
    uid: str
    shown: ShownReasons | None = None
    error: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RoutingReplayView(View):
    """What rules would have done in the last days."""

    template: ClassVar[str] = "routing/replay.html.jinja"
    most_days: ClassVar[int] = MAX_REPLAY_DAYS

    days: str
    version: str
    """Empty: the rules in force."""
    in_force: int
    found: RoutingReplay | None = None
    problems: tuple[FieldProblem, ...] = ()
    problem: str = ""

    def error(self, name: str) -> str:
        """Return the problem of a field."""
        return error_of(name, self.problems)


@router.get(TEST)
def ask_rules(
    request: Request,
    by: MayReadRouting,
    work: InWork,
    kind: Annotated[str, Query(max_length=20)] = "series",
    uid: SearchText = "",
) -> Response:
    """Show which rules apply to something of the archive, and why."""
    view = RoutingTesterView(kind if kind in KINDS else "series", uid.strip())
    if not view.uid:
        return page(request, by, view)
    view = _asked(by, work, view)
    wrong = bool(view.error or view.problem)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
    return page(request, by, view, status=status)


@router.get(REPLAY)
def ask_replay(
    request: Request,
    by: MayChangeRouting,
    work: InWork,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """Show the form of a replay."""
    shown = "" if version is None else str(version)
    view = RoutingReplayView(str(MAX_REPLAY_DAYS), shown, work.routing.number_in_force())
    return page(request, by, view)


@router.post(REPLAY, dependencies=[costs(RequestCost.SUMS)])
def replay(request: Request, act: ChangeRoutingAct, work: InWork) -> Response:
    """Show what rules would have done in the last days, beside what was done."""
    form = act.form
    view = RoutingReplayView(
        form.text("days"), form.text("version"), work.routing.number_in_force()
    )
    try:
        question = validate_form(ReplayQuestion, {"days": view.days, "version": view.version})
        view = replace(view, found=work.routing_replay.replay(act.by, question))
    except Invalid as error:
        view = replace(view, problems=error.problems)
    except NotFound as error:
        view = replace(view, problems=(FieldProblem("version", str(error)),))
    except Conflict as error:
        view = replace(view, problem=said(str(error)))
    status = HTTPStatus.OK if view.found else HTTPStatus.UNPROCESSABLE_ENTITY
    return page(request, act.by, view, status=status)


def _asked(by: Principal, work: UnitOfWork, view: RoutingTesterView) -> RoutingTesterView:
    field = KINDS[view.kind][0]
    try:
        question = validate_form(RoutingQuestion, {field: view.uid})
        return replace(view, shown=ShownReasons(work.routing.explain(by, question), view.uid))
    except Invalid as error:
        return replace(view, error=error_of(field, error.problems) or said(str(error)))
    except NotFound as error:
        return replace(view, error=said(str(error)))
    except Conflict as error:
        return replace(view, problem=said(str(error)))
