"""Shows failures as pages: outside `/api/` a problem document becomes HTML.

A visitor who is not signed in goes to the sign-in page, and back afterwards; what was typed in a
form goes along.
"""

import inspect
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from draw_api.handlers.web.field_names import field_name
from draw_api.handlers.web.kept import KeptView, kept_of_request
from draw_api.handlers.web.languages import N_, _, gettext, speak
from draw_api.handlers.web.pages import View, asks_for_fragment, page, redirect
from draw_api.handlers.web.session import SignInView, provider_of
from draw_api.handlers.work import WorkFactory
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import OldToken, Refusal, UnusableText
from draw_shared.errors import Transient
from draw_shared.web.bodies import TooLargeForStrangers
from draw_shared.web.identity import COOKIE, SAFE_METHODS, client_address
from draw_shared.web.problems import DESCRIPTIONS, problem
from draw_shared.web.turns import RequestCost, WaitingRoom

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

REFUSED_TO_LOOK: Final = (HTTPException, RequestValidationError)
BEFORE_ANY_PAGE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
"""What is answered before a page could ask who the visitor is."""
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
    back: str = ""
    """The page of the form, or of the list, that the visitor came from; empty if unknown."""


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
        too_large = isinstance(error, TooLargeForStrangers)
        if too_large or answer.status_code == HTTPStatus.UNAUTHORIZED:
            return await _to_sign_in(request, too_large=too_large)
        if answer.status_code in BEFORE_ANY_PAGE and _visitor(request) is None:
            await _identify(request)
        form = _page_of_form(request, error)
        if form is not None:
            return redirect(form)
        if _is_no_address(error):
            answer = problem(HTTPStatus.NOT_FOUND, DESCRIPTIONS[HTTPStatus.NOT_FOUND])
        if isinstance(error, OldToken | UnusableText):
            return await _with_entries(request, answer, error)
        return _as_page(request, answer)

    return show


async def _identify(request: Request) -> None:
    """Find out who asks for an address that no page has, to answer in the visitor's language."""
    if COOKIE not in request.cookies:
        return
    room: WaitingRoom = request.app.state.waiting_room
    try:
        async with room.turn(RequestCost.ORDINARY, request, room.whom(request)):
            by = await run_in_threadpool(_caller, request)
    except (Refusal, Transient):
        return
    request.state.visitor = by
    speak(by.language)


def _caller(request: Request) -> Principal:
    factory: WorkFactory = request.app.state.work
    with factory() as work:
        session = request.cookies[COOKIE]
        return work.authentication.by_session(session, client_address(request))


def _is_no_address(error: Exception) -> bool:
    """Return whether only parts of the address's path are wrong: no page can be there."""
    return isinstance(error, RequestValidationError) and all(
        one["loc"][:1] == ("path",) for one in error.errors()
    )


def _page_of_form(request: Request, error: Exception) -> str | None:
    """Return the page with the form that is sent to this address; None if it is a page itself.

    Who loads the answer to a form again, or signs in after sending one, asks for such an address.
    """
    if request.method not in SAFE_METHODS or not isinstance(error, REFUSED_TO_LOOK):
        return None
    if isinstance(error, HTTPException) and error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return None
    pages, forms = _templates(request.app)
    here = request.url.path
    # A last part that is no number may be the name of what a form does: `/nodes/test`.
    form = here if here in forms else next((one for one in forms if _fits(here, one)), None)
    if form is None or form in pages:
        return None
    while form:
        form, here = form.rpartition("/")[0], here.rpartition("/")[0]
        for last in ("", "/new"):
            if f"{form}{last}" in pages:
                return f"{here}{last}"
    return "/"


def _templates(application: FastAPI) -> tuple[set[str], set[str]]:
    """Return the paths of the pages, and those that forms are sent to."""
    pages: set[str] = set()
    forms: set[str] = set()
    for one in iter_route_contexts(application.routes):
        path = one.path or ""
        if isinstance(one.original_route, APIRoute) and not path.startswith(PROGRAMS):
            (forms if "POST" in (one.original_route.methods or ()) else pages).add(path)
    return pages, forms


def _fits(path: str, template: str) -> bool:
    return re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) is not None


async def _with_entries(request: Request, answer: Response, error: Exception) -> Response:
    """Return what was typed, to be sent again with the right token and without what is unusable."""
    by = _visitor(request)
    kept = None if by is None or asks_for_fragment(request) else await kept_of_request(request)
    if kept is None:
        return _as_page(request, answer)
    why = (
        _("This page was older than your sign-in.")
        if isinstance(error, OldToken)
        else _("What was typed held characters that cannot be kept; they are left out below.")
    )
    return page(request, by, KeptView(why, kept), status=HTTPStatus(answer.status_code))


def _as_page(request: Request, answer: Response) -> Response:
    problem: dict[str, Any] = json.loads(bytes(answer.body))
    by = _visitor(request)
    view = FailureView(
        status=answer.status_code,
        title=gettext(TITLES.get(answer.status_code) or str(problem.get("title", ""))),
        detail=str(problem.get("detail", "")),
        errors=tuple((field_name(e["field"]), e["message"]) for e in problem.get("errors", ())),
        retry_after=answer.headers.get(RETRY_AFTER, ""),
        back="" if by is None else _way_back(request, answer.status_code),
    )
    show = page(request, by, view, status=HTTPStatus(answer.status_code))
    if view.retry_after:
        show.headers[RETRY_AFTER] = view.retry_after
    return show


def _way_back(request: Request, status: int) -> str:
    """Return where the visitor can try again; nothing if that is not known.

    Browsers do not say which page a form was on. A form that is on several pages does.
    """
    named = getattr(request.state, "back", "")
    if named:
        return str(named)
    here = request.url.path
    if status == HTTPStatus.NOT_FOUND:
        # What is gone is most likely all that was below its list.
        here = "/".join(here.split("/")[:2]) if here.count("/") > 1 else ""
    elif request.method in SAFE_METHODS and not request.url.query:
        here = here.rpartition("/")[0]
    pages, _forms = _templates(request.app)
    while here and not any(_fits(here, one) for one in pages):
        here = here.rpartition("/")[0]
    return here


def _visitor(request: Request) -> Principal | None:
    """Return the visitor of the failed page; None if it failed before identification."""
    found = getattr(request.state, "visitor", None)
    return found if isinstance(found, Principal) else None


async def _to_sign_in(request: Request, *, too_large: bool) -> Response:
    url = urlsplit(str(request.url))
    if asks_for_fragment(request):
        url = urlsplit(request.headers.get("hx-current-url", ""))
    here = (url.path or "/") + (f"?{url.query}" if url.query else "")
    target = f"{SIGN_IN}?next={quote(here, safe='')}" if here != "/" else SIGN_IN
    if asks_for_fragment(request):
        return Response(headers={REDIRECT_HEADER: target})
    if too_large:
        return _sign_in_elsewhere(request, here)
    kept = await kept_of_request(request)
    if kept is None or kept.empty:
        return redirect(target)
    if not kept.fits:
        return _sign_in_elsewhere(request, here)
    view = SignInView(here, provider=provider_of(request), kept=kept)
    return page(request, None, view, status=HTTPStatus.UNAUTHORIZED)


def _sign_in_elsewhere(request: Request, here: str) -> Response:
    """Say how to save what was typed, which is too much for the sign-in page to carry."""
    words = _(
        "The session has ended, and what you typed is too much to"
        " keep. Sign in in another tab, then go back in this one and send it again."
    )
    view = SignInView(here, provider=provider_of(request), problem=words)
    return page(request, None, view, status=HTTPStatus.UNAUTHORIZED)
