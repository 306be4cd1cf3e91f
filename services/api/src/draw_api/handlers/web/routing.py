"""The rules of routing: their list with today's counts, their order, their history."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.conditions import TRIGGERS, condition_words
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.languages import N_, _, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, SearchText
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.paging import Page
from draw_api.models.queries import is_zone
from draw_api.models.routing import RoutingHistoryEntry, RoutingVersion
from draw_api.models.texts import whole_number
from draw_api.ports.routing_trials import AppliedCounts
from draw_api.services.documents import etag
from draw_api.services.routing_edits import NO_RULE, move_rule, remove_rule, switch_rule
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.routing.document import RoutingRule
from draw_shared.routing.parts import MAX_NAME_LENGTH
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadRouting = Annotated[Principal, page_requires(Permission.READ_ROUTING)]
MayChangeRouting = Annotated[Principal, page_requires(Permission.CHANGE_ROUTING)]
ChangeRoutingAct = Annotated[SubmittedForm, form_requires(Permission.CHANGE_ROUTING)]

HOME: Final = "/routing"
HISTORY: Final = f"{HOME}/history"
RULE: Final = f"{HOME}/rule"
CHANGED_MEANWHILE: Final = N_(
    "Somebody else has changed the rules meanwhile. Nothing was saved. What you typed is still"
    " here; save again to have it as it stands here, and all else as the other has left it."
)
LIVE_SECONDS: Final = 5.0
"""Counting a day's decisions is more work than reading a list."""
STEPS: Final = {"up": -1, "down": 1}
RoutingVersionInPath = Annotated[int, Path(ge=1, le=2**31 - 1)]
NameInQuery = Annotated[str, Query(max_length=MAX_NAME_LENGTH)]


@dataclass(frozen=True, slots=True)
class RuleListView(View):
    """The rules in force, in their order."""

    template: ClassVar[str] = "routing/list.html.jinja"
    fragment: ClassVar[str] = "routing/_list.html.jinja"
    triggers: ClassVar[Mapping[str, str]] = TRIGGERS

    found: RoutingVersion | None
    """None: this release cannot read them."""
    counts: AppliedCounts
    zoned: bool
    """Whether the counts are of the visitor's day, and not of that of UTC."""
    problem: str = ""

    def conditions(self, rule: RoutingRule) -> str:
        """Return when a rule applies, in words."""
        return condition_words(rule.when)

    def key(self, name: str) -> str:
        """Return what the row of a name is called, so that no row becomes that of another."""
        return hashlib.sha256(name.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class RoutingHistoryView(View):
    """Who changed which rules, and when."""

    template: ClassVar[str] = "routing/history.html.jinja"

    found: Page[RoutingHistoryEntry]
    current: int


@router.get(HOME)
def rules(request: Request, by: MayReadRouting, work: InWork, zone: SearchText = "") -> Response:
    """Show the rules in force."""
    return page(request, by, _look(work, zone))


@router.get(f"/live{HOME}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadRouting, zone: SearchText = "") -> StreamingResponse:
    """Stream the rules with their counts."""
    return stream(
        request,
        lambda work: _look(work, zone),
        HOME,
        Permission.READ_ROUTING,
        interval=LIVE_SECONDS,
    )


@router.post(f"{RULE}/switch")
def switch(act: ChangeRoutingAct, work: InWork) -> Response:
    """Have a rule looked at, or passed over."""
    active = act.form.text("active") == "true"
    change = switch_rule(act.form.exact("name"), active=active)
    made = work.routing.edit(act.by, change, seen_version(act.form))
    return redirect(HOME, notice_of(act.form, made, "rule-active" if active else "rule-inactive"))


@router.post(f"{RULE}/move")
def move(act: ChangeRoutingAct, work: InWork) -> Response:
    """Move a rule up or down by one place."""
    steps = STEPS.get(act.form.text("direction"), 0)
    change = move_rule(act.form.exact("name"), steps)
    made = work.routing.edit(act.by, change, seen_version(act.form))
    return redirect(HOME, notice_of(act.form, made, "rule-moved"))


@router.get(f"{RULE}/remove")
def ask_remove(
    request: Request, by: MayChangeRouting, work: InWork, name: NameInQuery = ""
) -> Response:
    """Ask for confirmation before a rule is removed."""
    if not name:
        return redirect(HOME)
    current = work.routing.current()
    rule = rule_named(current, name)
    view = ConfirmView(
        title=_("Remove this rule?"),
        text=_("What it has decided already is still delivered; the history keeps the rule."),
        button=_("Remove the rule"),
        action=f"{RULE}/remove",
        back=HOME,
        fields=(("name", rule.name), ("version", str(current.version))),
        about=((_("Name"), rule.name), (_("Applies when"), condition_words(rule.when))),
    )
    return page(request, by, view)


@router.post(f"{RULE}/remove")
def remove(act: ChangeRoutingAct, work: InWork) -> Response:
    """Remove a rule."""
    work.routing.edit(act.by, remove_rule(act.form.exact("name")), seen_version(act.form))
    return redirect(HOME, "rule-removed")


@router.get(HISTORY)
def history(request: Request, by: MayReadRouting, work: InWork, cursor: Cursor = None) -> Response:
    """Show who changed which rules, newest first."""
    found = work.routing.history(cursor, ON_A_PAGE)
    return page(request, by, RoutingHistoryView(found, work.routing.number_in_force()))


@router.get(f"{HISTORY}/{{version}}/restore")
def ask_restore(
    request: Request, by: MayChangeRouting, work: InWork, version: RoutingVersionInPath
) -> Response:
    """Ask for confirmation before earlier rules are put in force."""
    earlier = work.routing.version(version)
    view = ConfirmView(
        title=_("Roll back to version %(number)s?", number=earlier.version),
        text=_(
            "All rules and destinations become what they were then; the history keeps both. What"
            " is decided already is still delivered, unless its destination is gone."
        ),
        button=_("Roll back to version %(number)s", number=earlier.version),
        action=f"{HISTORY}/{earlier.version}/restore",
        back=HISTORY,
        fields=(("version", str(work.routing.number_in_force())),),
        about=((_("Rules"), ", ".join(rule.name for rule in earlier.document.rules) or _("none")),),
    )
    return page(request, by, view)


@router.post(f"{HISTORY}/{{version}}/restore")
def restore(act: ChangeRoutingAct, work: InWork, version: RoutingVersionInPath) -> Response:
    """Put earlier rules in force again."""
    made = work.routing.restore(act.by, version, seen_version(act.form))
    return redirect(HOME, notice_of(act.form, made, "rules-restored"))


def seen_version(form: CheckedForm) -> str | None:
    """Return the tag of the version that a form was made from; None if it does not say."""
    seen = whole_number(form.text("version"))
    return None if seen is None else etag(seen)


def notice_of(form: CheckedForm, made: RoutingVersion, notice: str) -> str:
    """Return what to say of a change; that nothing was changed if it made no version."""
    return "config-same" if seen_version(form) == etag(made.version) else notice


def rule_named(version: RoutingVersion, name: str) -> RoutingRule:
    """Return a rule; NotFound when there is none of this name."""
    found = next((rule for rule in version.document.rules if rule.name == name), None)
    if found is None:
        raise NotFound(NO_RULE)
    return found


def _look(work: UnitOfWork, zone: str) -> RuleListView:
    known = bool(zone) and is_zone(zone)
    counts = work.routing_replay.applied_today(zone if known else "UTC")
    try:
        return RuleListView(work.routing.current(), counts, zoned=known)
    except Conflict as error:
        return RuleListView(None, counts, zoned=known, problem=said(str(error)))
