"""The words for invalid values: the one translation of validation errors.

REST, forms, lists and `draw-admin` use the same words. No message contains a regular expression,
the name of a Python type or the value itself, which may be a password.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic_core.core_schema import ErrorType

from draw_shared.contracts.failures import FieldProblem
from draw_shared.contracts.moments import DATE_WORDS, MOMENT_WORDS
from draw_shared.wording import message

BODY: Final = "body"
WHERE: Final = frozenset({BODY, "query", "path", "header", "cookie"})
OTHERWISE: Final = message("cannot be used")
BUILT_IN: Final = frozenset(get_args(ErrorType))
"""pydantic's own kinds; any other kind is ours and already has words."""

WORDS: Final[Mapping[str, str]] = {
    "missing": "is needed",
    "extra_forbidden": "is not known here",
    "json_invalid": "must be JSON",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "none_required": "must be null",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be an object with named values",
    "model_type": "must be an object with named values",
    "model_attributes_type": "must be an object with named values",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be {expected_tags}",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
    "date_type": DATE_WORDS,
    "date_parsing": DATE_WORDS,
    "date_from_datetime_parsing": DATE_WORDS,
    "date_from_datetime_inexact": DATE_WORDS,
    "datetime_type": MOMENT_WORDS,
    "datetime_parsing": MOMENT_WORDS,
    "datetime_object_invalid": MOMENT_WORDS,
    "datetime_from_date_parsing": MOMENT_WORDS,
    "timezone_aware": "must say its time zone, as 2026-11-28T22:00:00Z does",
}
"""The words for each kind of pydantic's errors, filled in with its context."""


def problems_of(errors: Iterable[Mapping[str, Any]], sent: object = None) -> list[FieldProblem]:
    """Return pydantic's errors as fields and words; `sent` is what was validated."""
    found = [
        FieldProblem(field_of(error["loc"], sent, error["type"]), words_of(error))
        for error in errors
    ]
    return list(dict.fromkeys(found))


def words_of(error: Mapping[str, Any]) -> str:
    """Return one error in words."""
    context = error.get("ctx") or {}
    if error["type"] in {"value_error", "assertion_error"}:
        return str(context.get("error", OTHERWISE))
    if error["type"] == "union_tag_not_found":
        return f"needs {str(context['discriminator']).replace(chr(39), '')}"
    if error["type"] not in BUILT_IN:
        return str(error["msg"])
    if context.get("min_length") == 1:
        return message("must not be empty")
    # A secret that is too short is no list of entries, though pydantic has one kind for both.
    kind = f"string_{error['type']}" if isinstance(error.get("input"), str) else error["type"]
    return WORDS.get(kind, WORDS.get(error["type"], OTHERWISE)).format_map(context)


def field_of(location: Sequence[int | str], sent: object, kind: str) -> str:
    """Return the dotted path of a field, without its place in the request.

    Steps that are not fields of the document, such as the tag of a union, are left out.
    """
    if kind == "json_invalid":
        return BODY
    steps = list(location)
    if steps and steps[0] in WHERE and steps.pop(0) != BODY:
        sent = None
    shown: list[str] = []
    here = sent
    for number, step in enumerate(steps):
        missing = kind == "missing" and number == len(steps) - 1
        if here is None or missing:
            shown.append(str(step))
        elif _is_inside(step, here):
            shown.append(str(step))
            here = here[step]  # type: ignore[index]  # that is what was asked
    return ".".join(shown) or BODY


def _is_inside(step: int | str, value: object) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
