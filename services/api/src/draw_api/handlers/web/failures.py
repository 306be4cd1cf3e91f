"""Shows failures as pages: outside `/api/` a problem document becomes HTML.

A visitor who is not signed in goes to the sign-in page, and back afterwards.
"""

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response

from draw_api.handlers.identity import SAFE_METHODS
from draw_api.handlers.web.languages import N_, gettext
from draw_api.handlers.web.pages import View, asks_for_fragment, page, redirect
from draw_api.models.access import Principal

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

PROGRAMS: Final = ("/api/", "/livez", "/readyz", "/metrics")
SIGN_IN: Final = "/sign-in"
REDIRECT_HEADER: Final = "HX-Redirect"
RETRY_AFTER: Final = "Retry-After"
TITLES: Final[dict[int, str]] = {
    HTTPStatus.BAD_REQUEST: N_("This cannot be understood"),
    HTTPStatus.FORBIDDEN: N_("Not allowed"),
    HTTPStatus.NOT_FOUND: N_("Not found"),
    HTTPStatus.METHOD_NOT_ALLOWED: N_("This cannot be done here"),
    HTTPStatus.CONFLICT: N_("This is not possible now"),
    HTTPStatus.GONE: N_("No longer here"),
    HTTPStatus.LENGTH_REQUIRED: N_("This cannot be understood"),
    HTTPStatus.PRECONDITION_FAILED: N_("Changed by somebody else meanwhile"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: N_("Too large"),
    HTTPStatus.UNPROCESSABLE_ENTITY: N_("Some values cannot be used"),
    HTTPStatus.TOO_MANY_REQUESTS: N_("Too many requests"),
    HTTPStatus.INTERNAL_SERVER_ERROR: N_("An error in the suite"),
    HTTPStatus.BAD_GATEWAY: N_("Another system does not answer"),
    HTTPStatus.SERVICE_UNAVAILABLE: N_("Not available at the moment"),
}
"""What the page calls a failure, by the status of its answer (RFC 9110 15)."""


@dataclass(frozen=True, slots=True)
class FailureView(View):
    """What went wrong, and what to do about it."""

    template: ClassVar[str] = "failure.html.jinja"
    fragment: ClassVar[str] = "_failure.html.jinja"

    status: int
    title: str
    detail: str
    errors: tuple[tuple[str, str], ...]
    retry_after: str


def install(application: FastAPI) -> None:
    """Show failures of the pages as pages; call it after the problem documents are installed."""
    for failure, handler in list(application.exception_handlers.items()):
        application.add_exception_handler(failure, _for_people(handler))


def _for_people(handler: Handler) -> Handler:
    async def show(request: Request, error: Exception) -> Response:
        made = handler(request, error)
        answer = await made if inspect.isawaitable(made) else made
        if request.url.path.startswith(PROGRAMS):
            return answer
        return _as_page(request, answer)

    return show


def _as_page(request: Request, answer: Response) -> Response:
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    problem: dict[str, Any] = json.loads(bytes(answer.body))
    view = FailureView(
        status=answer.status_code,
        title=gettext(TITLES.get(answer.status_code) or str(problem.get("title", ""))),
        detail=str(problem.get("detail", "")),
        errors=tuple((e["field"], e["message"]) for e in problem.get("errors", ())),
        retry_after=answer.headers.get(RETRY_AFTER, ""),
    )
    show = page(request, _visitor(request), view, status=HTTPStatus(answer.status_code))
    if view.retry_after:
        show.headers[RETRY_AFTER] = view.retry_after
    return show


def _visitor(request: Request) -> Principal | None:
    """Return the visitor of the failed page; None if it failed before identification."""
    found = getattr(request.state, "visitor", None)
    return found if isinstance(found, Principal) else None


def _to_sign_in(request: Request) -> Response:
    url = urlsplit(str(request.url))
    if asks_for_fragment(request):
        url = urlsplit(request.headers.get("hx-current-url", ""))
    here = (url.path or "/") + (f"?{url.query}" if url.query else "")
    back = here if request.method in SAFE_METHODS else "/"
    target = f"{SIGN_IN}?next={quote(back, safe='')}" if back != "/" else SIGN_IN
    if asks_for_fragment(request):
        return Response(headers={REDIRECT_HEADER: target})
    return redirect(target)
