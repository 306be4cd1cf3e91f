"""Identifies the visitor, and proves that a form came from our page.

The web page knows only browsers: bearer tokens are for REST. A form carries the session's CSRF
token in a hidden field. Routes that change something get their principal only through
`SubmittedForm`, so none can forget to check the token.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Cookie as CookieParameter
from fastapi import Depends, HTTPException, Request
from starlette.datastructures import FormData, UploadFile

from draw_api.handlers.web.languages import speak
from draw_api.handlers.work import InWork
from draw_api.models.own_paths import own_path
from draw_shared.access.authentication import require, require_csrf
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import FieldProblem, Unauthenticated, UnusableText
from draw_shared.web.bodies import form_of
from draw_shared.web.identity import (
    COOKIE,
    CSRF_HEADER,
    SAFE_METHODS,
    Guard,
    client_address,
    remember_caller,
)

CSRF_FIELD: Final = "csrf_token"
BACK_FIELD: Final = "back"
"""The page that a form is on, in a form that is on several."""
MAX_DIGITS: Final = 15
MAX_BYTES: Final = 4 * 1024**2
MAX_FIELDS: Final = 20_000
"""More than a page has, so that who selects too much is told how much can be selected."""
MAX_FILES: Final = 1
NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
"""Characters that neither PostgreSQL, a page nor a JSON document can hold."""

SessionCookie = Annotated[str | None, CookieParameter(alias=COOKIE, include_in_schema=False)]


class CheckedForm:
    """The fields of a form, as the browser sent them.

    Raises:
        UnusableText: a field holds something that is not text.
    """

    def __init__(self, data: FormData) -> None:
        self._data = data
        problems = [
            FieldProblem(name if name.isprintable() else "form", "must be text without NUL")
            for name, value in data.multi_items()
            if NO_TEXT.search(name) or (isinstance(value, str) and NO_TEXT.search(value))
        ]
        if problems:
            raise UnusableText(list(dict.fromkeys(problems)))

    def text(self, name: str) -> str:
        """Return a field's text without surrounding blanks; empty when there is none."""
        value = self._data.get(name)
        return value.strip() if isinstance(value, str) else ""

    def beginning(self, prefix: str) -> dict[str, str]:
        """Return the texts of the fields whose names begin so, by the rest of their names."""
        return {
            name.removeprefix(prefix): self.text(name)
            for name in self._data
            if name.startswith(prefix)
        }

    def texts(self, name: str) -> list[str]:
        """Return every value of a field that may be repeated."""
        return [value for value in self._data.getlist(name) if isinstance(value, str)]

    def exact(self, name: str) -> str:
        """Return a field exactly as it was typed."""
        value = self._data.get(name)
        return value if isinstance(value, str) else ""

    def has(self, name: str) -> bool:
        """Return whether the field was sent: a ticked box is, an empty one is not."""
        return name in self._data

    def file(self, name: str) -> bytes:
        """Return the content of an uploaded file; empty when there is none."""
        value = self._data.get(name)
        return value.file.read(MAX_BYTES) if isinstance(value, UploadFile) else b""


def _visitor(request: Request, work: InWork, session: SessionCookie = None) -> Principal:
    if not session:
        raise Unauthenticated("Please sign in.")
    by = remember_caller(
        request, session, work.authentication.by_session(session, client_address(request))
    )
    request.state.visitor = by
    speak(by.language)
    return by


def require_small(request: Request) -> None:
    """Refuse a form that declares a large size, or none."""
    said = request.headers.get("content-length", "")
    if not said.isdecimal():
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED)
    if len(said) > MAX_DIGITS or int(said) > MAX_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


@asynccontextmanager
async def read_form(
    request: Request, *, max_files: int, max_fields: int
) -> AsyncIterator[CheckedForm]:
    """Read a form, and delete its files after the block.

    Raises:
        HTTPException: the body is too large, or not a form.
        UnusableText: a field holds something that is not text.
    """
    require_small(request)
    async with form_of(
        request, max_files=max_files, max_fields=max_fields, max_part_size=MAX_BYTES
    ) as data:
        yield CheckedForm(data)


async def _form(
    request: Request, by: Annotated[Principal, Depends(_visitor)]
) -> AsyncIterator[CheckedForm]:
    async with read_form(request, max_files=MAX_FILES, max_fields=MAX_FIELDS) as form:
        require_csrf(by, form.text(CSRF_FIELD) or request.headers.get(CSRF_HEADER))
        request.state.back = own_path(form.text(BACK_FIELD))
        yield form


class SubmittedForm:
    """A form that was sent on purpose, and the principal who sent it."""

    def __init__(self, by: Principal, form: CheckedForm) -> None:
        self.by = by
        self.form = form


class PageAccess(Guard):
    """A dependency that admits callers who may see a page."""

    def __call__(self, request: Request, by: Annotated[Principal, Depends(_visitor)]) -> Principal:
        if request.method not in SAFE_METHODS:
            raise RuntimeError("a route that changes something must depend on FormAccess")
        require(by, self.permission)
        return by


class FormAccess(Guard):
    """A dependency that admits callers with a permission, and returns their form."""

    def __call__(
        self,
        by: Annotated[Principal, Depends(_visitor)],
        form: Annotated[CheckedForm, Depends(_form)],
    ) -> SubmittedForm:
        require(by, self.permission)
        return SubmittedForm(by, form)


def page_requires(permission: Permission) -> Any:  # noqa: ANN401 - what stands in a signature
    """Return the dependency of a page that needs a permission."""
    return Depends(PageAccess(permission))


def form_requires(permission: Permission) -> Any:  # noqa: ANN401 - what stands in a signature
    """Return the dependency of a form that needs a permission."""
    return Depends(FormAccess(permission))
