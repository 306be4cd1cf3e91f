"""Signing in and out, and the caller's own account."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Cookie as CookieParameter

from draw_api.handlers.own_site import require_own_site
from draw_api.handlers.work import InWork
from draw_api.models.access import Me, SessionStarted, SignIn
from draw_api.models.languages import LanguageChoice
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Unauthenticated
from draw_shared.web.identity import COOKIE, client_address, opens, requires
from draw_shared.web.problems import failure, responses
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(prefix="/api/v1", tags=["session"])

MayEndOwnCredentials = Annotated[Principal, requires(Permission.END_OWN_CREDENTIALS)]
MayChooseLanguage = Annotated[Principal, requires(Permission.CHOOSE_LANGUAGE)]
MayReadOwnAccount = Annotated[Principal, requires(Permission.READ_OWN_ACCOUNT)]


@router.post(
    "/session",
    status_code=HTTPStatus.CREATED,
    response_model=SessionStarted,
    dependencies=[
        costs(RequestCost.SIGN_INS),
        opens(Permission.SIGN_IN),
        Depends(require_own_site),
    ],
    responses=responses(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS
    ),
)
def sign_in(request: Request, response: Response, body: SignIn, work: InWork) -> object:
    """Sign in with name and password; the session's token is set as a cookie."""
    password = body.password.get_secret_value()
    started = work.access.sign_in(body.name, password, client_address(request))
    if started is None:
        # Returned, not raised: the attempt must stay on record.
        return failure(Unauthenticated(message("Wrong name or password.")))
    session = started.session
    response.set_cookie(
        COOKIE,
        started.token,
        expires=session.expires_at,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return SessionStarted(
        name=session.name,
        role=session.role,
        csrf_token=session.csrf_token,
        expires_at=session.expires_at,
    )


@router.delete("/session", status_code=HTTPStatus.NO_CONTENT)
def sign_out(
    response: Response,
    by: MayEndOwnCredentials,
    work: InWork,
    session: Annotated[str | None, CookieParameter(alias=COOKIE, include_in_schema=False)] = None,
) -> None:
    """End the session of this browser."""
    if by.csrf_token is not None and session is not None:
        work.access.sign_out(by, session)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


@router.put("/me/language", status_code=HTTPStatus.NO_CONTENT)
def choose_language(by: MayChooseLanguage, body: LanguageChoice, work: InWork) -> None:
    """Choose the language of the page for the caller; REST speaks English."""
    work.access.choose_language(by, body)


@router.get("/me")
def me(by: MayReadOwnAccount) -> Me:
    """Return the caller."""
    return Me(name=by.name, role=by.role, token_name=by.token_name, csrf_token=by.csrf_token)
