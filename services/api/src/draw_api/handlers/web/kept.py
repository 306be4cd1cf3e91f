"""Keeps what was typed in a form that could not be accepted because of its session.

The session has ended, or the token in the form is older than the session. The entries are shown
again afterwards, and only a click sends them: nothing is ever done by signing in, which a
stranger may have made somebody do, or by another user than the one who typed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from draw_api.handlers.own_site import require_own_site
from draw_api.handlers.web.pages import View
from draw_api.handlers.web.visitor import (
    CSRF_FIELD,
    MAX_BYTES,
    MAX_FIELDS,
    MAX_FILES,
    NO_TEXT,
    require_small,
)
from draw_api.models.own_paths import own_path
from draw_shared.contracts.failures import Refusal
from draw_shared.web.bodies import form_of

MAX_KEPT_BYTES: Final = 48 * 1024
"""The sign-in page sends it along, and who is not signed in may send little."""
SECRET: Final = re.compile("password|secret|passphrase|token")
CONFIRMED: Final = "confirmed"
"""The field of a question that was answered: whoever sends it again is asked again."""
UNSEEN: Final = frozenset({"opened", "back", "next", "zone"})
"""Fields that nobody typed."""


class KeptForm(BaseModel):
    """What was typed, without anything secret and without files."""

    action: str
    fields: list[tuple[str, str]]
    secrets: list[str] = []
    """Fields that have to be typed again."""
    files: list[str] = []
    """Fields whose file has to be chosen again."""

    @property
    def empty(self) -> bool:
        """Whether nothing was typed: only a button was pressed."""
        return not (self.fields or self.secrets or self.files)

    @property
    def shown(self) -> Iterator[tuple[str, str]]:
        """The entries that a person has made."""
        return ((name, value) for name, value in self.fields if value and name not in UNSEEN)

    @property
    def fits(self) -> bool:
        """Whether the sign-in page can carry it."""
        return len(self.as_text().encode()) <= MAX_KEPT_BYTES

    def as_text(self) -> str:
        """Return it as the sign-in page carries it."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class KeptView(View):
    """The entries, and the button that sends them."""

    template: ClassVar[str] = "session/kept.html.jinja"

    why: str
    kept: KeptForm


def kept_of_text(text: str) -> KeptForm | None:
    """Return what the sign-in page has carried; None if it is nothing of ours."""
    if not text or len(text.encode()) > MAX_KEPT_BYTES:
        return None
    try:
        kept = KeptForm.model_validate_json(text)
    except ValidationError:
        return None
    return kept if own_path(kept.action) and not kept.action.startswith("/api/") else None


async def kept_of_request(request: Request) -> KeptForm | None:
    """Return what a form of our own page has sent; None if that cannot be said."""
    if request.method != "POST":
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    action = own_path(f"{request.url.path}{query}")
    if not action:
        return None
    try:
        require_own_site(request)
        require_small(request)
        async with form_of(
            request, max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_BYTES
        ) as data:
            return _kept(action, data.multi_items())
    except (Refusal, HTTPException):
        return None


def _kept(action: str, items: list[tuple[str, str | UploadFile]]) -> KeptForm:
    fields: list[tuple[str, str]] = []
    secrets: list[str] = []
    files: list[str] = []
    for name, value in items:
        if name in {CSRF_FIELD, CONFIRMED} or NO_TEXT.search(name):
            continue
        if isinstance(value, UploadFile):
            files += [name] if value.filename else []
        elif SECRET.search(name):
            secrets += [name] if value else []
        else:
            fields.append((name, NO_TEXT.sub("", value)))
    return KeptForm(action=action, fields=fields, secrets=secrets, files=files)
