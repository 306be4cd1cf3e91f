"""Pages of lists, and cursors that stay valid while rows are added."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from draw_api.models.texts import whole_number
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.wording import message

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
SURROGATE: Final = re.compile("[\ud800-\udfff]")
SWITCHES: Final = {"true": True, "false": False}


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class Request(BaseModel):
    """A request body; unknown fields are refused, so that typing mistakes are noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Parameters(Request):
    """A request body in the form of query parameters: digits become numbers."""

    @model_validator(mode="before")
    @classmethod
    def _convert(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: _convert(kinds.get(name), value) for name, value in given.items()}


def _convert(kind: object, value: object) -> object:
    if not isinstance(value, str):
        return value
    if kind is bool:
        return SWITCHES.get(value.lower(), value)
    number = whole_number(value) if kind is int else None
    return value if number is None else number


class Page(Answer, Generic[Item]):
    """Some rows of a list; `next_cursor` is null on the last page."""

    items: list[Item]
    next_cursor: str | None = Field(
        default=None, description="give it back as `cursor` to read on; opaque"
    )


def encode_cursor(*keys: int | str) -> str:
    """Return the opaque text for the row with these sort keys."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: tuple[type, ...]) -> tuple[int | str, ...]:
    """Return the sort keys from which `encode_cursor` made the text.

    Raises:
        Invalid: `encode_cursor` did not make the text for this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        keys = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (binascii.Error, ValueError, RecursionError):
        keys = None
    if (
        not isinstance(keys, list)
        or len(keys) != len(kinds)
        or any(type(key) is not kind for key, kind in zip(keys, kinds, strict=True))
        or not all(map(_can_be_compared, keys))
    ):
        raise foreign_cursor()
    return tuple(keys)


def _can_be_compared(key: int | str) -> bool:
    """Return whether a column can hold the key: PostgreSQL's text has no NUL and no surrogates."""
    if isinstance(key, int):
        return abs(key) < 2**63
    return "\0" not in key and not SURROGATE.search(key)


def foreign_cursor() -> Invalid:
    """Return the failure for a cursor that belongs to another list."""
    return Invalid([FieldProblem("cursor", message("this cursor does not belong to this list"))])


def page_of(rows: list[tuple[str, Item]], limit: int) -> Page[Item]:
    """Return a page from up to `limit` + 1 rows, each with the cursor that continues after it."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(items=[item for _, item in shown], next_cursor=shown[-1][0] if more else None)
