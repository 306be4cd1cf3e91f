"""Who is asking: session cookie or bearer token, role, CSRF token."""

from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from draw_api.handlers.work import InWork
from draw_api.models.access import Principal, Role
from draw_api.models.failures import Unauthenticated
from draw_api.services.access import require_csrf, require_role

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
    """Return the address of the client, as the socket or a trusted proxy says."""
    return request.client.host if request.client else ""


def _principal(
    request: Request,
    work: InWork,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    session: Annotated[str | None, Security(_cookie)],
    csrf: Annotated[str | None, Security(_csrf)],
) -> Principal:
    address = client_address(request)
    if bearer is not None:
        return work.access.by_token(bearer.credentials, address)
    if not session:
        raise Unauthenticated("Sign in, or send a bearer token.")
    principal = work.access.by_session(session, address)
    if request.method not in SAFE_METHODS:
        require_csrf(principal, csrf)
    return principal


class Requires:
    """A dependency that lets in who has at least a role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    def __call__(self, principal: Annotated[Principal, Depends(_principal)]) -> Principal:
        require_role(principal, self.role)
        return principal


Viewer = Annotated[Principal, Depends(Requires(Role.VIEWER))]
Operator = Annotated[Principal, Depends(Requires(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(Requires(Role.ADMIN))]
