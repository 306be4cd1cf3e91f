"""Signing in through an OpenID Connect provider."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi import Cookie as CookieParameter
from fastapi.responses import RedirectResponse

from draw_api.handlers.rest.parameters import SearchText
from draw_api.handlers.work import WorkFactory
from draw_api.models.single_sign_on import SingleSignOnState
from draw_api.services.single_sign_on import SingleSignOnService
from draw_shared.access.permissions import Permission
from draw_shared.contracts.failures import Forbidden, Unauthenticated
from draw_shared.web.identity import COOKIE, client_address, opens
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(
    prefix="/api/v1/oidc",
    tags=["session"],
    dependencies=[costs(RequestCost.SIGN_INS), opens(Permission.SIGN_IN)],
)

PENDING_COOKIE: Final = "draw_oidc"
SIGN_IN_TIMEOUT_SECONDS: Final = 600
CALLBACK: Final = "/api/v1/oidc/callback"
REDIRECT: Final[dict[int | str, dict[str, Any]]] = {
    302: {"description": "to the identity provider", "headers": {"Location": {}}},
}


@router.get("")
def state(request: Request) -> SingleSignOnState:
    """Return whether users may sign in through an identity provider."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    return SingleSignOnState(enabled=sign_on.enabled, name=sign_on.name)


@router.get(
    "/sign-in",
    status_code=HTTPStatus.FOUND,
    response_class=RedirectResponse,
    responses=responses(HTTPStatus.NOT_FOUND) | REDIRECT,
)
def begin(
    request: Request,
    next: Annotated[SearchText, Query(description="path to go to afterwards")] = "/",  # noqa: A002 - the parameter's usual name
) -> Response:
    """Send the browser to the identity provider."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    url, sealed = sign_on.begin(next, _redirect_uri(request))
    answer = RedirectResponse(url, HTTPStatus.FOUND)
    answer.set_cookie(
        PENDING_COOKIE,
        sealed,
        max_age=SIGN_IN_TIMEOUT_SECONDS,
        path=CALLBACK,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


@router.get(
    "/callback",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
)
def finish(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
    sealed: Annotated[
        str | None, CookieParameter(alias=PENDING_COOKIE, include_in_schema=False)
    ] = None,
) -> Response:
    """Take the browser back from the identity provider and sign it in."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    if error and sign_on.enabled:
        raise Unauthenticated(message("The identity provider has not signed you in."))
    identity, target = sign_on.finish(sealed, state, code, _redirect_uri(request))
    # The provider was asked before the transaction begins, because it may be slow.
    factory: WorkFactory = request.app.state.work
    with factory() as work:
        started = work.external_access.sign_in(identity, client_address(request))
    if isinstance(started, Forbidden):
        # After the commit: the attempt must stay on record.
        raise started
    answer = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        started.token,
        expires=started.session.expires_at,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        # Lax: the browser comes from the provider's site and must send it.
        samesite="lax",
    )
    answer.delete_cookie(PENDING_COOKIE, path=CALLBACK, httponly=True, samesite="lax")
    return answer


def _redirect_uri(request: Request) -> str:
    sign_on: SingleSignOnService = request.app.state.sign_on
    return f"{(sign_on.public_url or str(request.base_url)).rstrip('/')}{CALLBACK}"
