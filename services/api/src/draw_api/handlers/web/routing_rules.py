"""The form of one rule: conditions as rows or text, destinations by ticks, and a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.condition_rows import (
    FIELDS,
    ConditionList,
    ConditionRow,
    condition_in,
    list_in,
    list_of,
    text_of,
)
from draw_api.handlers.web.conditions import OPERATORS, SUBJECTS, TRIGGERS
from draw_api.handlers.web.forms import error_of, validate_form
from draw_api.handlers.web.languages import _, gettext, said
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.reasons import ShownReasons
from draw_api.handlers.web.routing import (
    CHANGED_MEANWHILE,
    HOME,
    RULE,
    ChangeRoutingAct,
    MayChangeRouting,
    NameInQuery,
    notice_of,
    rule_named,
    seen_version,
)
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.routing import RoutingQuestion, RoutingVersion
from draw_api.models.routing_trials import ReplayQuestion, RoutingReplay
from draw_api.services.routing import document_of
from draw_api.services.routing_edits import place_of, put_rule
from draw_shared.contracts.failures import (
    Conflict,
    FieldProblem,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Refusal,
)
from draw_shared.routing.document import RoutingDocument, RoutingRule, Trigger
from draw_shared.routing.presets import PRESETS, Preset
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

NEW: Final = f"{RULE}/new"
EDIT: Final = f"{RULE}/edit"
TRY: Final = f"{RULE}/try"
REPLAY: Final = f"{RULE}/replay"
COMMON: Final = (
    "Modality", "SeriesDescription", "StudyDescription", "ProtocolName", "BodyPartExamined",
    "ImageType", "SOPClassUID", "PatientID", "PatientName", "StationName", "Manufacturer",
    "InstitutionName", "SliceThickness", "SeriesDate",
)  # fmt: skip
"""Elements that the field of a subject offers."""
QUESTIONS: Final[Mapping[str, str]] = {
    Trigger.SERIES_COMPLETE: "series_instance_uid",
    Trigger.STUDY_COMPLETE: "study_instance_uid",
    Trigger.INSTANCE: "sop_instance_uid",
}
"""What a rule with this trigger is asked about."""
WHEN: Final = "when"
OWN_ERRORS: Final = ("name", "trigger", "destinations", "stop", "about", WHEN)
"""Fields that say themselves what is wrong with them, as rows do."""


@dataclass(frozen=True, slots=True)
class RuleEntries:
    """What the form of a rule has."""

    name: str = ""
    active: bool = True
    trigger: str = Trigger.SERIES_COMPLETE.value
    as_text: bool = False
    """Whether the conditions are text and not rows."""
    conditions: ConditionList = field(default_factory=ConditionList)
    text: str = ""
    destinations: Sequence[str] = ()
    stop: bool = False
    comment: str = ""
    about: str = ""
    """The UID of what the rule is tried on."""

    def stored(self, before: RoutingRule | None) -> dict[str, Any]:
        """Return the rule, in the form that it had before where it says the same.

        Raises:
            Invalid: the text is not JSON.
        """
        held = {} if before is None else before.model_dump(mode="json", by_alias=True)
        first = [name for name in held.get("destinations", ()) if name in self.destinations]
        return {
            "name": self.name,
            "active": self.active,
            "trigger": self.trigger,
            "when": condition_in(self.text)
            if self.as_text
            else self.conditions.stored(held.get("when")),
            "destinations": list(dict.fromkeys([*first, *self.destinations])),
            "stop": self.stop,
        }

    def own(self, problem: FieldProblem, place: str) -> FieldProblem:
        """Return a problem of the document as one of this form; `place`: that of the rule."""
        if not problem.field.startswith(f"{place}."):
            return problem
        within = problem.field.removeprefix(f"{place}.")
        first, *steps = within.split(".")
        if first != WHEN or not steps:
            return FieldProblem(within, problem.message)
        if self.as_text:
            return FieldProblem(WHEN, f"{'.'.join(steps)}: {problem.message}")
        found = self.conditions.row_of(steps)
        shown = WHEN if found is None else f"{found[1]}.{found[0]}"
        return FieldProblem(shown, problem.message)


@dataclass(frozen=True, slots=True)
class RuleFormView(View):
    """The form of a rule."""

    template: ClassVar[str] = "routing/rule.html.jinja"
    triggers: ClassVar[Mapping[str, str]] = TRIGGERS
    operators: ClassVar[Mapping[str, str]] = OPERATORS
    subjects: ClassVar[tuple[str, ...]] = COMMON
    beside: ClassVar[Mapping[str, str]] = SUBJECTS
    presets: ClassVar[tuple[Preset, ...]] = PRESETS

    title: str
    action: str
    trial: str
    """Where the rule is tried."""
    replay: str
    """Where the last days are replayed with it."""
    version: int
    offered: list[str]
    """The destinations of the document."""
    entries: RuleEntries
    problems: tuple[FieldProblem, ...] = ()
    problem: str = ""
    tried: ShownReasons | None = None
    replayed: RoutingReplay | None = None
    place: int = 0
    """The place of the rule among those that were tried."""
    empty: bool = False
    """Whether nothing was chosen or typed yet."""

    def error(self, name: str) -> str:
        """Return the problem of a field."""
        return error_of(name, self.problems)

    @property
    def general(self) -> str:
        """The problems that no field shows."""
        rows = range(len(self.entries.conditions.rows))
        known = {
            *OWN_ERRORS,
            *(f"{one}.{row}" for row in rows for one in FIELDS),
        }
        others = [
            said(f"{one.field}: {one.message}")
            for one in self.problems
            if not any(one.field == name or one.field.startswith(f"{name}.") for name in known)
        ]
        return "; ".join([*([self.problem] if self.problem else []), *others])


@router.get(NEW)
def new(
    request: Request,
    by: MayChangeRouting,
    work: InWork,
    preset: Annotated[int | None, Query(ge=0, le=len(PRESETS) - 1)] = None,
) -> Response:
    """Show the form for a new rule, with one of the rules to begin with if it was chosen."""
    entries = RuleEntries(conditions=ConditionList(rows=[ConditionRow()]))
    if preset is not None:
        entries = _entries_of(PRESETS[preset].rule, name=said(PRESETS[preset].title))
    view = _view(work.routing.current(), "", entries)
    return page(request, by, replace(view, empty=preset is None))


@router.post(NEW)
def add(request: Request, act: ChangeRoutingAct, work: InWork) -> Response:
    """Add a rule after the others, or change the form."""
    return _carry_out(request, act, work, "")


@router.get(EDIT)
def edit(request: Request, by: MayChangeRouting, work: InWork, name: NameInQuery = "") -> Response:
    """Show the form of a rule."""
    if not name:
        return redirect(HOME)
    current = work.routing.current()
    return page(request, by, _view(current, name, _entries_of(rule_named(current, name))))


@router.post(EDIT)
def save(request: Request, act: ChangeRoutingAct, work: InWork, name: NameInQuery = "") -> Response:
    """Change a rule, or its form."""
    return _carry_out(request, act, work, name)


@router.post(TRY)
def try_rule(
    request: Request, act: ChangeRoutingAct, work: InWork, name: NameInQuery = ""
) -> Response:
    """Show what the rule of a form says about something of the archive."""
    current, entries = work.routing.current(), _entries_in(act.form)
    try:
        view = _tried(act, work, current, name, entries)
    except (Invalid, NotFound) as error:
        refused = _view(current, name, entries, error)
        return page(request, act.by, refused, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return page(request, act.by, view)


@router.post(REPLAY, dependencies=[costs(RequestCost.SUMS)])
def replay_rule(
    request: Request, act: ChangeRoutingAct, work: InWork, name: NameInQuery = ""
) -> Response:
    """Show what the rules with that of a form would have done in the last days."""
    current, entries = work.routing.current(), _entries_in(act.form)
    try:
        question = ReplayQuestion(document=_with_rule(current, name, entries))
    except (Invalid, NotFound) as error:
        refused = _view(current, name, entries, error)
        return page(request, act.by, refused, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    found = work.routing_replay.replay(act.by, question)
    return page(request, act.by, replace(_view(current, name, entries), replayed=found))


def _carry_out(request: Request, act: SubmittedForm, work: UnitOfWork, name: str) -> Response:
    """Do what the button says: change the form, or save the rule."""
    current, entries = work.routing.current(), _entries_in(act.form)
    try:
        changed = _changed(act.form.text("do"), entries, _before(current, name))
        if changed is not None:
            return page(request, act.by, _view(current, name, changed))
        rule = entries.stored(_before(current, name))
        change = put_rule(rule, name)
        made = work.routing.edit(act.by, change, seen_version(act.form), entries.comment)
    except (Invalid, Conflict, NotFound, PreconditionFailed, PreconditionRequired) as error:
        view = _view(current, name, entries, error)
        stale = isinstance(error, PreconditionFailed | PreconditionRequired)
        status = HTTPStatus.PRECONDITION_FAILED if stale else HTTPStatus.UNPROCESSABLE_ENTITY
        return page(request, act.by, view, status=status)
    return redirect(HOME, notice_of(act.form, made, "rule-saved"))


def _changed(wanted: str, entries: RuleEntries, before: RoutingRule | None) -> RuleEntries | None:
    """Return the entries after a button of the form; None: it was not such a button.

    Raises:
        Invalid: the text is no condition, or none that rows can say.
    """
    rows = entries.conditions.rows
    if wanted == "add":
        return _with_rows(entries, [*rows, ConditionRow()])
    if wanted.startswith("remove."):
        gone = wanted.removeprefix("remove.")
        return _with_rows(entries, [one for n, one in enumerate(rows) if str(n) != gone])
    if wanted == "text":
        return replace(entries, as_text=True, text=text_of(entries.stored(before)[WHEN]))
    if wanted == "rows":
        found = list_of(_checked(entries))
        if found is None:
            words = message(
                "cannot be written as rows: it is more than one list of comparisons, or has values"
                " that a field cannot hold"
            )
            raise Invalid([FieldProblem(WHEN, words)])
        return replace(entries, as_text=False, conditions=found)
    return None


def _checked(entries: RuleEntries) -> dict[str, Any] | None:
    """Return the condition of the text as it would be stored; raises Invalid."""
    alone = {"name": "-", "stop": True, WHEN: condition_in(entries.text)}
    try:
        document = document_of({"rules": [alone]})
    except Invalid as error:
        raise Invalid([entries.own(one, "rules.0") for one in error.problems]) from error
    found: dict[str, Any] | None = document.stored()["rules"][0][WHEN]
    return found


def _tried(
    act: SubmittedForm,
    work: UnitOfWork,
    current: RoutingVersion,
    name: str,
    entries: RuleEntries,
) -> RuleFormView:
    """Return the form with what its rule says about something; raises Invalid, NotFound."""
    if not entries.about:
        raise Invalid([FieldProblem("about", message("is needed"))])
    document = _with_rule(current, name, entries)
    asked = QUESTIONS.get(entries.trigger, QUESTIONS[Trigger.SERIES_COMPLETE])
    question = validate_form(RoutingQuestion, {asked: entries.about, "document": document})
    try:
        found = work.routing.explain(act.by, question)
    except NotFound as error:
        raise Invalid([FieldProblem("about", str(error))]) from error
    view = _view(current, name, entries)
    return replace(view, tried=ShownReasons(found, entries.about), place=_place(current, name))


def _with_rule(current: RoutingVersion, name: str, entries: RuleEntries) -> RoutingDocument:
    """Return the document with the rule of the form; raises Invalid."""
    known = _before(current, name)
    change = put_rule(entries.stored(known), name if known else "")
    return document_of(change(current.document.stored()))


def _with_rows(entries: RuleEntries, rows: Sequence[ConditionRow]) -> RuleEntries:
    return replace(entries, conditions=replace(entries.conditions, rows=rows))


def _before(current: RoutingVersion, name: str) -> RoutingRule | None:
    return next((rule for rule in current.document.rules if rule.name == name), None)


def _place(current: RoutingVersion, name: str) -> int:
    return place_of(current.document.stored()["rules"], name)


def _entries_of(rule: RoutingRule, name: str = "") -> RuleEntries:
    """Return a rule as the form shows it."""
    stored = rule.model_dump(mode="json", by_alias=True)
    found = list_of(stored[WHEN])
    return RuleEntries(
        name=name or rule.name,
        active=rule.active,
        trigger=rule.trigger.value,
        as_text=found is None,
        conditions=found or ConditionList(),
        text=text_of(stored[WHEN]) if found is None else "",
        destinations=rule.destinations,
        stop=rule.stop,
    )


def _entries_in(form: CheckedForm) -> RuleEntries:
    return RuleEntries(
        name=form.text("name"),
        active=form.has("active"),
        trigger=form.text("trigger"),
        as_text=form.text("written") == "text",
        conditions=list_in(form),
        text=form.text("text"),
        destinations=form.texts("destination"),
        stop=form.has("stop"),
        comment=form.text("comment"),
        about=form.text("about"),
    )


def _view(
    current: RoutingVersion, name: str, entries: RuleEntries, error: Refusal | None = None
) -> RuleFormView:
    known = _before(current, name) is not None
    place = f"rules.{_place(current, name)}"
    problems = error.problems if isinstance(error, Invalid) else ()
    stale = isinstance(error, PreconditionFailed | PreconditionRequired)
    other = gettext(CHANGED_MEANWHILE) if stale else said(str(error)) if error else ""
    return RuleFormView(
        title=name if known else _("Add a rule"),
        action=address(EDIT, name=name) if known else NEW,
        trial=address(TRY, name=name if known else ""),
        replay=address(REPLAY, name=name if known else ""),
        version=current.version,
        offered=[one.name for one in current.document.destinations],
        entries=entries,
        problems=tuple(
            FieldProblem("about", one.message)
            if one.field in QUESTIONS.values()
            else entries.own(one, place)
            for one in problems
        ),
        problem="" if problems else other,
    )
