"""Signing in and out in the browser."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Depends, Request, Response

from draw_api.handlers.own_site import require_own_site
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.kept import KeptForm, KeptView, kept_of_text
from draw_api.handlers.web.languages import _, said, speak
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.visitor import (
    CheckedForm,
    SessionCookie,
    SubmittedForm,
    form_requires,
    read_form,
)
from draw_api.handlers.web.words import words
from draw_api.handlers.work import InWork
from draw_api.models.access import SignIn
from draw_api.models.languages import LanguageChoice
from draw_api.models.own_paths import own_path
from draw_api.services.single_sign_on import SingleSignOnService
from draw_shared.access.permissions import Permission
from draw_shared.contracts.failures import Invalid
from draw_shared.web.identity import COOKIE, client_address, opens
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

EndOwnCredentialsAct = Annotated[SubmittedForm, form_requires(Permission.END_OWN_CREDENTIALS)]
ChooseLanguageAct = Annotated[SubmittedForm, form_requires(Permission.CHOOSE_LANGUAGE)]

KEPT: Final = "kept"
"""The field in which the sign-in page carries what was typed before."""


@dataclass(frozen=True, slots=True)
class SignInView(View):
    """The form for name and password."""

    template: ClassVar[str] = "session/form.html.jinja"

    next: str
    name: str = ""
    problem: str = ""
    provider: str = ""
    """Name of the identity provider, if users may sign in through one."""
    kept: KeptForm | None = None
    """What was typed in a form when its session had ended already."""


async def _sign_in_form(request: Request) -> AsyncIterator[CheckedForm]:
    """Return the form; another site's page must not sign anybody in."""
    require_own_site(request)
    async with read_form(request, max_files=0, max_fields=10) as form:
        yield form


@router.get("/sign-in", dependencies=[opens(Permission.SIGN_IN)])
def form(request: Request, next: str = "") -> Response:  # noqa: A002 - the parameter's usual name
    """Ask for name and password."""
    return page(request, None, SignInView(own_path(next), provider=provider_of(request)))


@router.post("/sign-in", dependencies=[costs(RequestCost.SIGN_INS), opens(Permission.SIGN_IN)])
def sign_in(
    request: Request, work: InWork, sent: Annotated[CheckedForm, Depends(_sign_in_form)]
) -> Response:
    """Sign in and open the page that the visitor wanted."""
    target = own_path(sent.text("next"))
    kept = kept_of_text(sent.exact(KEPT))

    def again(problem: str, status: HTTPStatus) -> Response:
        view = SignInView(target, sent.text("name")[:64], problem, provider_of(request), kept)
        return page(request, None, view, status=status)

    try:
        values = {"name": sent.text("name"), "password": sent.exact("password")}
        asked = validate_form(SignIn, values)
    except Invalid as error:
        problem = ". ".join(f"{words(p.field)} {said(p.message)}" for p in error.problems)
        return again(f"{problem}.", HTTPStatus.UNPROCESSABLE_ENTITY)
    password = asked.password.get_secret_value()
    started = work.access.sign_in(asked.name, password, client_address(request))
    if started is None:
        # Returned, not raised: the attempt must stay on record.
        return again(_("Wrong name or password."), HTTPStatus.UNAUTHORIZED)
    answer = redirect(target or "/")
    if kept is not None:
        by = work.authentication.by_session(started.token, client_address(request))
        speak(by.language)
        answer = page(request, by, KeptView(_("You are signed in."), kept))
    answer.set_cookie(
        COOKIE,
        started.token,
        expires=started.session.expires_at,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        # Lax, so that a link in a message opens the page; every change needs a CSRF token.
        samesite="lax",
    )
    return answer


@router.post("/sign-out")
def sign_out(act: EndOwnCredentialsAct, work: InWork, session: SessionCookie = None) -> Response:
    """End the session of this browser."""
    if session is not None:
        work.access.sign_out(act.by, session)
    answer = redirect("/sign-in", "signed-out")
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return answer


@router.post("/language")
def choose_language(act: ChooseLanguageAct, work: InWork) -> Response:
    """Speak another language to this user, and show the page again that asked for it."""
    work.access.choose_language(
        act.by, validate_form(LanguageChoice, {"language": act.form.text("language")})
    )
    return redirect(own_path(act.form.text("next")) or "/")


def provider_of(request: Request) -> str:
    """Return the name of the identity provider; empty when there is none."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    return sign_on.name if sign_on.enabled else ""
