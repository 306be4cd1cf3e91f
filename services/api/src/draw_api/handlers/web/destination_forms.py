"""The forms of destinations: one for each kind, made from the classes of the document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, get_args

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.destination_words import kind_help, kind_words, leads_to
from draw_api.handlers.web.destinations import HOME as LIST
from draw_api.handlers.web.forms import FormField, error_of, fields_of, validate_form, values_of
from draw_api.handlers.web.languages import N_, _, gettext, said
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.routing import (
    CHANGED_MEANWHILE,
    HOME,
    ChangeRoutingAct,
    MayChangeRouting,
    NameInQuery,
    notice_of,
    seen_version,
)
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.routing import RoutingVersion
from draw_api.models.texts import whole_number
from draw_api.services.routing_edits import (
    NO_DESTINATION,
    place_of,
    put_destination,
    remove_destination,
)
from draw_shared.contracts.failures import (
    Conflict,
    FieldProblem,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Refusal,
)
from draw_shared.routing.destinations import (
    Destination,
    FolderPlace,
    GroupDestination,
)

router = APIRouter(include_in_schema=False)

DESTINATION: Final = f"{HOME}/destination"
NEW: Final = f"{DESTINATION}/new"
EDIT: Final = f"{DESTINATION}/edit"
CLASSES: Final[Mapping[str, Any]] = {
    get_args(one.model_fields["kind"].annotation)[0]: one
    for one in get_args(get_args(Destination)[0])
}
"""The class of each kind of destination."""
LABELS: Final = {
    "fields": N_("Elements and properties whose values are told"),
    "webhook_id": N_("Webhook"),
    "path": N_("Folder"),
    "back": N_("Go back to an earlier member"),
    "after_failures": N_("Take the next after so many failures"),
    "after_seconds": N_("Take the next after so many seconds"),
    "give_up_after_days": N_("Give up after so many days"),
}
CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "files": {
        "link": N_("Links to the archive's own files, which nobody may change"),
        "copy": N_("Copies"),
    },
    "mode": {
        "failover": N_("The first in their order that works"),
        "all": N_("Each of them"),
        "any": N_("The one that has least to do"),
    },
}
"""The words of choices that say little by themselves."""
PLACE: Final = "place"
MEMBERS: Final = "members"
LINES_APART: Final = "fields"
"""A list whose values may have commas."""


@dataclass(frozen=True, slots=True)
class DestinationFormView(View):
    """The form of a destination."""

    template: ClassVar[str] = "routing/destination.html.jinja"

    title: str
    action: str
    version: int
    kind: str
    kind_name: str
    fields: list[FormField]
    place: list[FormField]
    """The fields of the folder that a task may have."""
    members: list[FormField]
    problems: tuple[FieldProblem, ...] = ()
    problem: str = ""

    @property
    def members_error(self) -> str:
        """What is wrong with the members as a whole."""
        return error_of(MEMBERS, self.problems)


@dataclass(frozen=True, slots=True)
class DestinationKindsView(View):
    """The kinds of destinations that can be added."""

    template: ClassVar[str] = "routing/kinds.html.jinja"

    kinds: tuple[str, ...]

    def name(self, kind: str) -> str:
        """Return what a kind is called."""
        return kind_words(kind)

    def about(self, kind: str) -> str:
        """Return what a kind does."""
        return kind_help(kind)


@router.get(NEW)
def new(
    request: Request,
    by: MayChangeRouting,
    work: InWork,
    kind: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Ask for the kind of a new destination, or show its form."""
    if kind not in CLASSES:
        return page(request, by, DestinationKindsView(tuple(CLASSES)))
    return page(request, by, _view(work, work.routing.current(), "", kind, {}))


@router.post(NEW)
def add(request: Request, act: ChangeRoutingAct, work: InWork) -> Response:
    """Add a destination."""
    return _save(request, act, work, "")


@router.get(EDIT)
def edit(request: Request, by: MayChangeRouting, work: InWork, name: NameInQuery = "") -> Response:
    """Show the form of a destination."""
    if not name:
        return redirect(LIST)
    current = work.routing.current()
    found = _named(current, name)
    return page(request, by, _view(work, current, name, found["kind"], found))


@router.post(EDIT)
def save(request: Request, act: ChangeRoutingAct, work: InWork, name: NameInQuery = "") -> Response:
    """Change a destination; rules and groups follow a new name."""
    return _save(request, act, work, name)


@router.get(f"{DESTINATION}/remove")
def ask_remove(
    request: Request, by: MayChangeRouting, work: InWork, name: NameInQuery = ""
) -> Response:
    """Ask for confirmation before a destination is removed."""
    if not name:
        return redirect(LIST)
    current = work.routing.current()
    found = _named(current, name)
    remove_destination(name)(current.document.stored())
    view = ConfirmView(
        title=_("Remove this destination?"),
        text=_("What still waits for it is not delivered: it ends as failed."),
        button=_("Remove the destination"),
        action=f"{DESTINATION}/remove",
        back=LIST,
        fields=(("name", name), ("version", str(current.version))),
        about=(
            (_("Name"), name),
            (kind_words(found["kind"]), leads_to(found)),
            (_("Deliveries that wait"), str(_waiting(work, name))),
        ),
    )
    return page(request, by, view)


@router.post(f"{DESTINATION}/remove")
def remove(act: ChangeRoutingAct, work: InWork) -> Response:
    """Remove a destination that no rule and no group names."""
    work.routing.edit(act.by, remove_destination(act.form.exact("name")), seen_version(act.form))
    return redirect(LIST, "destination-removed")


def _named(current: RoutingVersion, name: str) -> dict[str, Any]:
    """Return a destination in its stored form; NotFound when there is none of this name."""
    for one in current.document.stored()["destinations"]:
        if one["name"] == name:
            return dict(one)
    raise NotFound(NO_DESTINATION)


def _save(request: Request, act: SubmittedForm, work: UnitOfWork, name: str) -> Response:
    current, kind = work.routing.current(), act.form.text("kind")
    if kind not in CLASSES:
        return redirect(NEW)
    values = _values(kind, act.form)
    try:
        wanted = validate_form(CLASSES[kind], values)
        change = put_destination(wanted.model_dump(mode="json", by_alias=True), name)
        made = work.routing.edit(act.by, change, seen_version(act.form))
    except (Invalid, Conflict, NotFound, PreconditionFailed, PreconditionRequired) as error:
        view = _view(work, current, name, kind, values, error)
        stale = isinstance(error, PreconditionFailed | PreconditionRequired)
        status = HTTPStatus.PRECONDITION_FAILED if stale else HTTPStatus.UNPROCESSABLE_ENTITY
        return page(request, act.by, view, status=status)
    return redirect(LIST, notice_of(act.form, made, "destination-saved"))


def _values(kind: str, form: CheckedForm) -> dict[str, Any]:
    """Return the values of a form, as the class of the kind needs them."""
    model = CLASSES[kind]
    found = values_of(model, form) | {"kind": kind}
    if LINES_APART in model.model_fields:
        typed = form.text(LINES_APART).splitlines()
        found[LINES_APART] = [one.strip() for one in typed if one.strip()]
    if MEMBERS in model.model_fields:
        names = form.texts("member")
        places = [whole_number(form.text(f"{MEMBERS}.{n}")) for n in range(len(names))]
        chosen = [(place, name) for place, name in zip(places, names, strict=True) if place]
        found[MEMBERS] = [name for _place, name in sorted(chosen, key=lambda one: one[0])]
    if PLACE in model.model_fields:
        typed_place = {one: form.text(f"{PLACE}.{one}") for one in FolderPlace.model_fields}
        found[PLACE] = typed_place if typed_place["path"] else None
    return found


def _waiting(work: UnitOfWork, name: str) -> int:
    """Return how many deliveries of a destination in force are not over."""
    found = work.destinations.one(name)
    return found.pending + found.running + found.waiting


def _view(
    work: UnitOfWork,
    current: RoutingVersion,
    name: str,
    kind: str,
    values: Mapping[str, Any],
    error: Refusal | None = None,
) -> DestinationFormView:
    destinations = current.document.stored()["destinations"]
    place = place_of(destinations, name)
    known = place < len(destinations)
    problems = error.problems if isinstance(error, Invalid) else ()
    own = tuple(
        FieldProblem(one.field.removeprefix(f"destinations.{place}."), one.message)
        for one in problems
    )
    model = CLASSES[kind]
    simple = [one for one in model.model_fields if one not in {"kind", PLACE, MEMBERS}]
    first = ["name", *(one for one in simple if one not in {"name", "give_up_after_days"})]
    fields = fields_of(model, values, own, only=[*first, "give_up_after_days"], labels=LABELS)
    shown = [_spoken(one, work, values) for one in fields]
    if known:
        told = _(
            "What waits for it under its old name ends as failed (now: %(number)s).",
            number=_waiting(work, name),
        )
        shown[0] = replace(shown[0], help=told)
    known_fields = {*model.model_fields, *(f"{PLACE}.{one}" for one in FolderPlace.model_fields)}
    others = [
        said(f"{one.field}: {one.message}")
        for one in own
        if not any(one.field == name or one.field.startswith(f"{name}.") for name in known_fields)
    ]
    stale = isinstance(error, PreconditionFailed | PreconditionRequired)
    whole = gettext(CHANGED_MEANWHILE) if stale else said(str(error)) if error else ""
    return DestinationFormView(
        title=name if known else _("Add a destination"),
        action=address(EDIT, name=name) if known else NEW,
        version=current.version,
        kind=kind,
        kind_name=kind_words(kind),
        fields=shown,
        place=_place_fields(values.get(PLACE), own) if PLACE in model.model_fields else [],
        members=_member_fields(destinations, values) if model is GroupDestination else [],
        problems=own,
        problem="; ".join(others) if problems else whole,
    )


def _spoken(field: FormField, work: UnitOfWork, values: Mapping[str, Any]) -> FormField:
    """Return a field with the choices that there are, or in words that say more."""
    if field.name == "remote_node":
        names = [node.name for node in work.nodes.offered() if node.active]
        return _chosen(field, [(name, name) for name in names], str(values.get(field.name, "")))
    if field.name == "webhook_id":
        hooks = [(str(one.id), f"{one.id}: {one.url}") for one in work.webhooks.all()]
        return _chosen(field, hooks, str(values.get(field.name, "")))
    return _worded(field)


def _chosen(field: FormField, offered: Sequence[tuple[str, str]], value: str) -> FormField:
    """Return a field in which one of those offered is chosen; what was chosen before stays."""
    gone = [(value, value)] if value not in {one for one, _text in offered} else []
    return replace(
        field, kind="choice", choices=[*gone, *offered], value=value, required=False, help=""
    )


def _place_fields(
    place: Mapping[str, Any] | None, problems: Sequence[FieldProblem]
) -> list[FormField]:
    within = [
        FieldProblem(one.field.removeprefix(f"{PLACE}."), one.message)
        for one in problems
        if one.field.startswith(f"{PLACE}.")
    ]
    return [
        replace(_worded(one), name=f"{PLACE}.{one.name}", required=False)
        for one in fields_of(FolderPlace, place or {}, within, labels=LABELS)
    ]


def _worded(field: FormField) -> FormField:
    """Return a field whose choices say what they do."""
    told = CHOICES.get(field.name)
    if told is None:
        return field
    choices = [(value, gettext(told.get(value, value))) for value, _text in field.choices]
    return replace(field, choices=choices, help="")


def _member_fields(
    destinations: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
) -> list[FormField]:
    """Return a field for the place of each destination that may be a member."""
    chosen = list(values.get(MEMBERS, ()))
    return [
        FormField(
            name=f"{MEMBERS}.{number}",
            label=one["name"],
            kind="number",
            value=str(chosen.index(one["name"]) + 1) if one["name"] in chosen else "",
            minimum=1,
            maximum=99,
        )
        for number, one in enumerate(one for one in destinations if one["kind"] != "group")
    ]
