"""The configuration: a form made from the reference, history with differences, roll-back."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Path, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import FormField, error_of, lines
from draw_api.handlers.web.languages import N_, _, gettext, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor
from draw_api.handlers.web.quantities import read_quantity, write_quantity
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.config import (
    ConfigField,
    ConfigHistoryEntry,
    ConfigSection,
    ConfigVersion,
    document_of,
    reference,
)
from draw_api.models.paging import Page
from draw_api.models.texts import whole_number
from draw_api.services.documents import etag
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import FieldProblem, Invalid, PreconditionFailed

router = APIRouter(include_in_schema=False)

MayReadConfiguration = Annotated[Principal, page_requires(Permission.READ_CONFIGURATION)]
ChangeConfigurationAct = Annotated[SubmittedForm, form_requires(Permission.CHANGE_CONFIGURATION)]
MayChangeConfiguration = Annotated[Principal, page_requires(Permission.CHANGE_CONFIGURATION)]

REFERENCE: Final = reference()
INPUTS: Final = {"boolean": "switch", "integer": "number", "list": "lines", "choice": "choice"}
CHANGED_MEANWHILE: Final = N_(
    "Somebody else has changed the configuration meanwhile. Nothing was saved. What you typed is"
    " still here; open the configuration in another tab to compare."
)
SETTINGS: Final = {one.path: one for section in REFERENCE.sections for one in section.fields}
EXAMPLES: Final = {
    "bytes": N_("Write a size such as 8 GiB, 8.6 GB or a number of bytes."),
    "gb": N_("Write a size such as 500 GB or 2 TB, in whole GB."),
    "seconds": N_("Write a time such as 30 s or 2 min, in whole seconds."),
}
"""What is said of a text that is no size or time, by the unit of the setting."""
MAX_QUANTITY_LENGTH: Final = 40
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class ShownField:
    """One setting with its reference."""

    setting: ConfigField
    field: FormField
    changed: bool
    """Whether the value differs from the default."""
    default: str
    """The default as people write it."""


@dataclass(frozen=True, slots=True)
class ShownSection:
    """One section of the form."""

    section: ConfigSection
    fields: list[ShownField]

    @property
    def basic(self) -> list[ShownField]:
        """The settings that are always shown."""
        return [one for one in self.fields if not one.setting.advanced]

    @property
    def advanced(self) -> list[ShownField]:
        """The settings that are folded away."""
        return [one for one in self.fields if one.setting.advanced]

    @property
    def changed(self) -> int:
        """How many of the folded settings differ from their defaults."""
        return sum(one.changed for one in self.advanced)

    @property
    def open(self) -> bool:
        """Whether a folded setting has a problem, so that it has to be seen."""
        return any(one.field.error for one in self.advanced)


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

    def written(self, path: str, value: object) -> str:
        """Return a value of a setting as people write it; of a setting that is gone, as it was."""
        setting = SETTINGS.get(path)
        return (
            json.dumps(value, ensure_ascii=False) if setting is None else _written(setting, value)
        )


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
        view = _view(
            version, _merge(current, sent), error.problems, comment=comment, typed=act.form
        )
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except PreconditionFailed:
        own = _changed_since(work, version, said_version, sent)
        view = _view(
            version,
            _merge(current, own),
            problem=gettext(CHANGED_MEANWHILE),
            comment=comment,
            typed=act.form,
            own=frozenset(own),
        )
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
        title=_("Roll back to version %(number)s?", number=earlier.version),
        text=_(
            "Every setting becomes what it was then; the history keeps both. Where port, host,"
            " AE title or TLS differ, the receiver opens its port again."
        ),
        button=_("Roll back to version %(number)s", number=earlier.version),
        action=f"/config/history/{earlier.version}/restore",
        back="/config/history",
        fields=(("version", str(current.version)),),
    )
    return page(request, by, view)


@router.post("/config/history/{version}/restore")
def restore(act: ChangeConfigurationAct, work: InWork, version: Version) -> Response:
    """Put an earlier version in force again."""
    seen = whole_number(act.form.text("version"))
    work.configuration.restore(act.by, version, None if seen is None else etag(seen))
    return redirect("/config", "config-restored")


def _view(
    version: ConfigVersion,
    document: dict[str, Any],
    problems: tuple[FieldProblem, ...] = (),
    *,
    problem: str = "",
    comment: str = "",
    typed: CheckedForm | None = None,
    own: frozenset[str] | None = None,
) -> ConfigView:
    sections = [
        ShownSection(
            section,
            [
                _show_field(
                    one, document, problems, typed if own is None or one.path in own else None
                )
                for one in section.fields
            ],
        )
        for section in REFERENCE.sections
    ]
    known = SETTINGS.keys()
    others = [
        said(p.message) for p in problems if not any(_within(p.field, path) for path in known)
    ]
    if problems and not problem:
        problem = "; ".join([_("Some settings cannot be used."), *others])
    return ConfigView(version, sections, problem, comment)


def _within(field: str, path: str) -> bool:
    return field == path or field.startswith(f"{path}.")


def _show_field(
    setting: ConfigField,
    document: dict[str, Any],
    problems: tuple[FieldProblem, ...],
    typed: CheckedForm | None,
) -> ShownField:
    value = _at(document, setting.path)
    kind = "text" if setting.unit else INPUTS.get(setting.kind, "text")
    shown = "\n".join(str(one) for one in value) if isinstance(value, list) else value
    if setting.unit:
        shown = typed.text(setting.path) if typed else write_quantity(value, setting.unit)
    field = FormField(
        name=setting.path,
        label=gettext(setting.label_without_unit),
        kind=kind,
        value=shown if kind == "switch" else str(shown),
        help=_help(setting),
        error=_error(setting, value, problems),
        minimum=None if setting.unit else setting.minimum,
        maximum=None if setting.unit else setting.maximum,
        longest=MAX_QUANTITY_LENGTH if setting.unit else setting.max_length,
        choices=[(one, gettext(one.replace("_", " "))) for one in setting.choices],
        required=kind == "number" or bool(setting.unit),
    )
    default = setting.default
    return ShownField(setting, field, changed=value != default, default=_written(setting, default))


def _error(setting: ConfigField, value: object, problems: tuple[FieldProblem, ...]) -> str:
    """Return the problem of a setting; that of a size or a time in its own units."""
    error = error_of(setting.path, problems)
    if not error or not setting.unit:
        return error
    low, high = setting.minimum, setting.maximum
    if isinstance(value, int) and low is not None and high is not None:
        return _(
            "Must be from %(low)s to %(high)s.",
            low=write_quantity(low, setting.unit),
            high=write_quantity(high, setting.unit),
        )
    return gettext(EXAMPLES[setting.unit])


def _written(setting: ConfigField, value: object) -> str:
    """Return a value of a setting as people write it."""
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _("none")
    if isinstance(value, int):
        return write_quantity(value, setting.unit) if setting.unit else str(value)
    return str(value).replace("_", " ") or _("none")


def _help(setting: ConfigField) -> str:
    told = gettext(setting.help) if setting.help else ""
    if setting.kind == "list":
        told = f"{told}; {_('one on a line')}" if told else _("one on a line")
    return told[:1].upper() + told[1:]


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
                text = form.text(path)
                number = read_quantity(text, setting.unit) if setting.unit else whole_number(text)
                found[path] = form.text(path) if number is None else number
            else:
                found[path] = form.text(path)
    return found


def _patch(current: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    return _nest({path: value for path, value in sent.items() if _at(current, path) != value})


def _changed_since(
    work: UnitOfWork, version: ConfigVersion, opened: str, sent: dict[str, Any]
) -> dict[str, Any]:
    """Return what differs from the version in which the form was opened: what was typed."""
    number = whole_number(opened)
    if number is None or not 1 <= number <= version.version:
        return sent
    then = document_of(work.configuration.version(number).document)
    return {path: value for path, value in sent.items() if _at(then, path) != value}


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
