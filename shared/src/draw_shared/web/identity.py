"""Identifies the caller: session cookie or bearer token, permission, CSRF token."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from draw_shared.access.authentication import require, require_csrf
from draw_shared.access.permissions import RULES, Permission
from draw_shared.access.principals import Principal
from draw_shared.addresses import canonical
from draw_shared.contracts.failures import Unauthenticated
from draw_shared.web.callers import Callers
from draw_shared.web.work import AuthenticatingWork, InAuthenticatingWork
from draw_shared.wording import message

COOKIE: Final = "draw_session"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="set by POST /api/v1/session")
_bearer = HTTPBearer(auto_error=False, description="a token made at /api/v1/tokens")
_csrf = APIKeyHeader(
    name=CSRF_HEADER,
    auto_error=False,
    description="with the session cookie, for POST, PUT, PATCH and DELETE",
)


def client_address(request: Request) -> str:
    """Return the address of the client, according to the socket or a trusted proxy."""
    return canonical(request.client.host) if request.client else ""


def _principal(
    request: Request,
    work: InAuthenticatingWork,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    session: Annotated[str | None, Security(_cookie)],
    csrf: Annotated[str | None, Security(_csrf)],
) -> Principal:
    principal = _known(work, bearer.credentials if bearer else None, session, request)
    if request.method not in SAFE_METHODS:
        require_csrf(principal, csrf)
    return principal


def _known(
    work: AuthenticatingWork, token: str | None, session: str | None, request: Request
) -> Principal:
    address = client_address(request)
    if token is not None:
        return remember_caller(request, token, work.authentication.by_token(token, address))
    if not session:
        raise Unauthenticated(message("Sign in, or send a bearer token."))
    return remember_caller(request, session, work.authentication.by_session(session, address))


def remember_caller(request: Request, credential: str, by: Principal) -> Principal:
    """Return the caller; later requests count against the caller before the database is asked."""
    callers: Callers = request.app.state.callers
    callers.remember(credential, by.user_id)
    return by


def credential_of(request: Request) -> str | None:
    """Return the bearer token of a request, or else the token of its session, valid or not."""
    return _bearer_of(request) or request.cookies.get(COOKIE)


def _bearer_of(request: Request) -> str | None:
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    return token if scheme.lower() == "bearer" else None


def identify(request: Request, work: AuthenticatingWork) -> Principal:
    """Return the caller, whatever the permissions.

    Raises:
        Unauthenticated: the request has no credentials, or unknown ones.
    """
    return _known(work, _bearer_of(request), request.cookies.get(COOKIE), request)


def require_still(request: Request, work: AuthenticatingWork, permission: Permission) -> None:
    """Return if the caller of a long answer still has the permission.

    Raises:
        Unauthenticated: the session or the token has ended.
        Forbidden: its role is too low now.
    """
    require(identify(request, work), permission)


class Guard:
    """A check before a route, with the permission that the route names."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission


class Requires(Guard):
    """A dependency that admits callers with a permission."""

    def __call__(self, principal: Annotated[Principal, Depends(_principal)]) -> Principal:
        require(principal, self.permission)
        return principal


class OpenToAll(Guard):
    """A dependency that admits everybody, for what everybody may do."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission)
        if RULES[permission].role is not None:
            raise ValueError(f"not everybody may do {permission}")

    async def __call__(self) -> None:
        """Admit everybody."""


def requires(permission: Permission) -> Any:  # noqa: ANN401 - what stands in a signature
    """Return the dependency of a REST route that needs a permission."""
    return Depends(Requires(permission))


def opens(permission: Permission) -> Any:  # noqa: ANN401 - what stands at a route
    """Return the dependency of a route that is open to everybody."""
    return Depends(OpenToAll(permission))


def permission_of(dependant: Dependant) -> Permission | None:
    """Return the permission that a route names, or None when it names none or several."""
    calls: Iterator[object] = (one.call for one in dependants_of(dependant))
    named = {call.permission for call in calls if isinstance(call, Guard)}
    return named.pop() if len(named) == 1 else None


def dependants_of(dependant: Dependant) -> Iterator[Dependant]:
    """Yield the dependencies of a route, and their own dependencies."""
    yield dependant
    for inner in dependant.dependencies:
        yield from dependants_of(inner)
