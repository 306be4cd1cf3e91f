"""Builds forms from the classes that REST reads: one source of ranges, help and defaults."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from draw_api.handlers.web.languages import _, gettext, said
from draw_api.handlers.web.visitor import CheckedForm
from draw_api.handlers.web.words import spelled, words
from draw_api.models.texts import whole_number
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid
from draw_shared.contracts.validation_words import problems_of
from draw_shared.wording import message

Model = TypeVar("Model", bound=BaseModel)
OPENED: Final = "opened"
"""The field with the fingerprint of what a form was filled in with."""
CHOOSE_A_NODE: Final = message("Choose a node.")
KINDS: Final = {"integer": "number", "number": "number", "boolean": "switch", "array": "lines"}


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form, as its template draws it."""

    name: str
    label: str
    kind: str
    """switch, choice, lines, or the type of an `<input>`."""
    value: Any = ""
    help: str = ""
    error: str = ""
    minimum: int | None = None
    maximum: int | None = None
    longest: int | None = None
    choices: Sequence[tuple[str, str]] = field(default_factory=tuple)
    required: bool = False
    step: str = ""

    @property
    def described(self) -> bool:
        """Whether there is text below the field."""
        return bool(self.help or self.error)


def validate_form(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Return the model with these values; digits in a number's field become numbers.

    Raises:
        Invalid: a value cannot be used; each problem names its field.
    """
    properties = _properties(model)
    typed = {
        name: _convert(properties[name], value) if name in properties else value
        for name, value in values.items()
    }
    try:
        return model.model_validate(typed)
    except ValidationError as error:
        raise Invalid(
            [_chosen(one, typed) for one in problems_of(error.errors(), typed)]
        ) from error


def _chosen(problem: FieldProblem, typed: Mapping[str, Any]) -> FieldProblem:
    """Return the problem; of a node that was not chosen, in words for who chooses from a list."""
    empty = problem.field == "node_id" and typed.get("node_id") == ""
    return FieldProblem(problem.field, CHOOSE_A_NODE) if empty else problem


def _convert(schema: Mapping[str, Any], value: Any) -> Any:  # noqa: ANN401 - whatever a form has
    if isinstance(value, str) and schema.get("type") == "integer":
        if not value.strip() and schema.get("default", "") is None:
            return None
        number = whole_number(value)
        return value if number is None else number
    if isinstance(value, list) and schema.get("type") == "array":
        return [_convert(schema.get("items", {}), one) for one in value]
    return value


def values_of(model: type[BaseModel], form: CheckedForm) -> dict[str, Any]:
    """Return a form's values for a model's simple fields; missing fields are left out."""
    found: dict[str, Any] = {}
    for name, schema in _properties(model).items():
        kind = _kind(schema)
        if kind == "switch":
            found[name] = form.has(name)
        elif form.has(name):
            found[name] = lines(form.text(name)) if kind == "lines" else form.text(name)
    return found


def fields_of(
    model: type[BaseModel],
    values: Mapping[str, Any],
    problems: Sequence[FieldProblem] = (),
    *,
    only: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> list[FormField]:
    """Return the fields of a model, filled in, each with its problem."""
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    properties = _properties(model)
    return [
        _field(
            name,
            properties[name],
            values.get(name, properties[name].get("default", "")),
            error_of(name, problems),
            required=name in required,
            label=(labels or {}).get(name, ""),
        )
        for name in only or properties
    ]


def texts_of(model: type[BaseModel]) -> Iterator[str]:
    """Yield the English texts of a model's fields, for the catalogues."""
    for name, schema in _properties(model).items():
        yield spelled(name)
        yield str(schema.get("description", ""))
        yield from (spelled(str(one)) for one in schema.get("enum", ()))


def fingerprint(model: type[BaseModel], found: BaseModel) -> str:
    """Return in few letters what a form is filled in with, to be sent back with it."""
    shown = found.model_dump(mode="json", include=set(model.model_fields))
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def require_unchanged(form: CheckedForm, now: str) -> None:
    """Refuse a form that was filled in with something else than there is now.

    Raises:
        Conflict: somebody else has changed it meanwhile.
    """
    if form.text(OPENED) not in {"", now}:
        raise Conflict(
            message(
                "Somebody else has changed this meanwhile. Nothing was saved. What you typed is"
                " still here; save again to replace the other change."
            )
        )


def error_of(name: str, problems: Sequence[FieldProblem]) -> str:
    """Return the problem of a field or of something inside it."""
    found = (p.message for p in problems if p.field == name or p.field.startswith(f"{name}."))
    return "; ".join(dict.fromkeys(map(said, found)))


def lines(text: str) -> list[str]:
    """Return the non-empty lines of a text; commas also separate."""
    return [part.strip() for part in text.replace(",", "\n").splitlines() if part.strip()]


def _properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    return {
        name: _plain(given, definitions) for name, given in schema.get("properties", {}).items()
    }


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without references; of alternatives, the most specific one."""
    found = dict(schema)
    if "$ref" in found:
        found = {**definitions[found.pop("$ref").rpartition("/")[2]], **found}
    options = found.pop("anyOf", None)
    if options:
        useful = [o for o in options if o.get("type") != "null" and "const" not in o]
        found = {**(_plain(useful[0], definitions) if useful else {}), **found}
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    if schema.get("format") == "password":
        return "password"
    if schema.get("format") == "date-time":
        return "datetime-local"
    return KINDS.get(schema.get("type", "string"), "text")


def _field(
    name: str,
    schema: Mapping[str, Any],
    value: Any,  # noqa: ANN401 - whatever the form or the row has
    error: str,
    *,
    required: bool,
    label: str,
) -> FormField:
    kind = _kind(schema)
    if kind == "lines" and isinstance(value, list | tuple):
        value = "\n".join(str(one) for one in value)
    return FormField(
        name=name,
        label=gettext(label) if label else words(name),
        kind=kind,
        value=value if kind == "switch" else "" if value is None else str(value),
        help=_help(schema, kind),
        error=error,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        longest=schema.get("maxLength"),
        choices=[(str(one), words(str(one))) for one in schema.get("enum", ())],
        required=required and kind not in {"switch", "choice"},
    )


def _help(schema: Mapping[str, Any], kind: str) -> str:
    told = gettext(str(schema.get("description", "")))
    low, high = schema.get("minimum"), schema.get("maximum")
    if kind == "number" and low is not None and high is not None and high < MAX_SHOWN:
        told = _joined(told, _("%(low)s to %(high)s", low=low, high=high))
    if kind == "lines":
        told = _joined(told, _("one on a line"))
    return told[:1].upper() + told[1:]


def _joined(told: str, more: str) -> str:
    return f"{told}; {more}" if told else more


MAX_SHOWN: Final = 2**40
