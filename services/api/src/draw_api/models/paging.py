"""Pages of lists, and cursors that stay right while rows are added."""

import base64
import binascii
import json
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from draw_api.models.failures import FieldProblem, Invalid

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class Request(BaseModel):
    """A request body; unknown fields are refused, so that a typing mistake is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Page(Answer, Generic[Item]):
    """Some rows of a list; `next_cursor` is null on the last page."""

    items: list[Item]
    next_cursor: str | None = Field(
        default=None, description="give it back as `cursor` to read on; opaque"
    )


def encode_cursor(*keys: int | str) -> str:
    """Return the opaque text that stands for the row with these sort keys."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: tuple[type, ...]) -> tuple[int | str, ...]:
    """Return the sort keys that `encode_cursor` was given.

    Raises:
        Invalid: the text was not made by `encode_cursor` for this list.
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
        or any(isinstance(key, int) and abs(key) >= 2**63 for key in keys)
    ):
        raise foreign_cursor()
    return tuple(keys)


def foreign_cursor() -> Invalid:
    """Return the failure of a cursor that was not made for this list."""
    return Invalid([FieldProblem("cursor", "this cursor does not belong to this list")])


def page_of(rows: list[tuple[str, Item]], limit: int) -> Page[Item]:
    """Return a page from up to `limit` + 1 rows, each with the cursor that continues after it."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(items=[item for _, item in shown], next_cursor=shown[-1][0] if more else None)
