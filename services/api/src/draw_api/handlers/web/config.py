"""The configuration: a form made from the reference, history with differences, roll-back."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Path, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import FormField, error_of, lines
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.config import (
    ConfigField,
    ConfigHistoryEntry,
    ConfigSection,
    ConfigVersion,
    document_of,
    reference,
)
from draw_api.models.failures import FieldProblem, Invalid, PreconditionFailed
from draw_api.models.paging import Page
from draw_api.models.permissions import Permission
from draw_api.models.texts import whole_number
from draw_api.services.config import etag

router = APIRouter(include_in_schema=False)

MayReadConfiguration = Annotated[Principal, page_requires(Permission.READ_CONFIGURATION)]
ChangeConfigurationAct = Annotated[SubmittedForm, form_requires(Permission.CHANGE_CONFIGURATION)]
MayChangeConfiguration = Annotated[Principal, page_requires(Permission.CHANGE_CONFIGURATION)]

REFERENCE: Final = reference()
INPUTS: Final = {"boolean": "switch", "integer": "number", "list": "lines", "choice": "choice"}
CHANGED_MEANWHILE: Final = "Somebody else has changed the configuration meanwhile. Reload it."
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class ShownField:
    """One setting with its reference."""

    setting: ConfigField
    field: FormField
    changed: bool
    """Whether the value differs from the default."""


@dataclass(frozen=True, slots=True)
class ShownSection:
    """One section of the form."""

    section: ConfigSection
    fields: list[ShownField]


@dataclass(frozen=True, slots=True)
class ConfigView(View):
    """The configuration in force, as a form."""

    template: ClassVar[str] = "config/form.html.jinja"

    version: ConfigVersion
    sections: list[ShownSection]
    problem: str
    comment: str


@dataclass(frozen=True, slots=True)
class ConfigHistoryView(View):
    """Who changed what, and when."""

    template: ClassVar[str] = "config/history.html.jinja"

    found: Page[ConfigHistoryEntry]
    current: int


@router.get("/config")
def form(request: Request, by: MayReadConfiguration, work: InWork) -> Response:
    """Show the configuration in force."""
    version = work.configuration.current()
    return page(request, by, _view(version, document_of(version.document)))


@router.post("/config")
def save(request: Request, act: ChangeConfigurationAct, work: InWork) -> Response:
    """Change the settings that differ from the configuration in force."""
    version = work.configuration.current()
    current = document_of(version.document)
    sent = _read_values(act.form)
    patch = _patch(current, sent)
    comment = act.form.text("comment")
    if not patch:
        return redirect("/config", "config-same")
    said_version = act.form.text("version")
    try:
        work.configuration.patch(act.by, patch, f'"{said_version}"', comment)
    except Invalid as error:
        view = _view(version, _merge(current, sent), error.problems, comment=comment)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except PreconditionFailed:
        view = _view(version, _merge(current, sent), problem=CHANGED_MEANWHILE, comment=comment)
        return page(request, act.by, view, status=HTTPStatus.PRECONDITION_FAILED)
    return redirect("/config", "config-saved")


@router.get("/config/history")
def history(
    request: Request, by: MayReadConfiguration, work: InWork, cursor: Cursor = None
) -> Response:
    """Show who changed what, newest first."""
    found = work.configuration.history(cursor, ON_A_PAGE)
    return page(request, by, ConfigHistoryView(found, work.configuration.number_in_force()))


@router.get("/config/history/{version}/restore")
def ask_restore(
    request: Request, by: MayChangeConfiguration, work: InWork, version: Version
) -> Response:
    """Ask for confirmation before an earlier version is put in force."""
    earlier = work.configuration.version(version)
    current = work.configuration.current()
    view = ConfirmView(
        title=f"Roll back to version {earlier.version}?",
        text="Every setting becomes what it was then; the history keeps both. Where port, host,"
        " AE title or TLS differ, the receiver opens its port again.",
        button=f"Roll back to version {earlier.version}",
        action=f"/config/history/{earlier.version}/restore",
        back="/config/history",
        fields=(("version", str(current.version)),),
    )
    return page(request, by, view)


@router.post("/config/history/{version}/restore")
def restore(act: ChangeConfigurationAct, work: InWork, version: Version) -> Response:
    """Put an earlier version in force again."""
    said = whole_number(act.form.text("version"))
    work.configuration.restore(act.by, version, None if said is None else etag(said))
    return redirect("/config", "config-restored")


def _view(
    version: ConfigVersion,
    document: dict[str, Any],
    problems: tuple[FieldProblem, ...] = (),
    *,
    problem: str = "",
    comment: str = "",
) -> ConfigView:
    sections = [
        ShownSection(section, [_show_field(one, document, problems) for one in section.fields])
        for section in REFERENCE.sections
    ]
    known = {one.path for section in REFERENCE.sections for one in section.fields}
    others = [p.message for p in problems if not any(_within(p.field, path) for path in known)]
    if problems and not problem:
        problem = "; ".join(["Some settings cannot be used.", *others])
    return ConfigView(version, sections, problem, comment)


def _within(field: str, path: str) -> bool:
    return field == path or field.startswith(f"{path}.")


def _show_field(
    setting: ConfigField, document: dict[str, Any], problems: tuple[FieldProblem, ...]
) -> ShownField:
    value = _at(document, setting.path)
    default = setting.default
    kind = INPUTS.get(setting.kind, "text")
    shown = "\n".join(str(one) for one in value) if isinstance(value, list) else value
    field = FormField(
        name=setting.path,
        label=setting.label,
        kind=kind,
        value=shown if kind == "switch" else str(shown),
        help=_help(setting),
        error=error_of(setting.path, problems),
        minimum=setting.minimum,
        maximum=setting.maximum,
        longest=setting.max_length,
        choices=[(one, one.replace("_", " ")) for one in setting.choices],
        required=kind == "number",
    )
    return ShownField(setting, field, changed=value != default)


def _help(setting: ConfigField) -> str:
    said = [setting.help] if setting.help else []
    if setting.minimum is not None and setting.maximum is not None:
        said.append(f"{setting.minimum} to {setting.maximum}")
    if setting.kind == "list":
        said.append("one on a line")
    elif setting.kind == "boolean":
        said.append("default on" if setting.default else "default off")
    elif setting.default:
        said.append(f"default {setting.default}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _read_values(form: CheckedForm) -> dict[str, Any]:
    """Return the settings of the form by their paths; text that is no number stays text."""
    found: dict[str, Any] = {}
    for section in REFERENCE.sections:
        for setting in section.fields:
            path = setting.path
            if setting.kind == "boolean":
                found[path] = form.has(path)
            elif setting.kind == "list":
                found[path] = lines(form.text(path))
            elif setting.kind == "integer":
                number = whole_number(form.text(path))
                found[path] = form.text(path) if number is None else number
            else:
                found[path] = form.text(path)
    return found


def _patch(current: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    return _nest({path: value for path, value in sent.items() if _at(current, path) != value})


def _merge(current: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    every = {one.path: _at(current, one.path) for s in REFERENCE.sections for one in s.fields}
    return _nest(every | sent)


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        place = made
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return made


def _at(document: dict[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON
    found: Any = document
    for name in path.split("."):
        found = found[name]
    return found
