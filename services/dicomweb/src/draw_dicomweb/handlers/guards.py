"""Admits requests: each endpoint names its permission and its cost.

Endpoints are ASGI applications of their own, so that a place in the queue is held until the answer
is sent, and nothing is computed for the many frames that a viewer asks for but what they need.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from draw_shared.access.authentication import require
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Forbidden
from draw_shared.web.identity import SAFE_METHODS, client_address, credential_of, identify
from draw_shared.web.turns import RequestCost, WaitingRoom
from draw_shared.web.work import AuthenticatingWorkFactory
from draw_shared.wording import message

KNOWN_SECONDS: Final = 1.0
"""How long a credential counts without the database being asked again. Somebody who is locked out
can go on for that long."""
MAX_KNOWN: Final = 10_000

Endpoint = Callable[[Request, Principal], Awaitable[Response]]


class KnownCallers:
    """Remembers for a moment who a credential belongs to."""

    def __init__(self, work: AuthenticatingWorkFactory) -> None:
        self._work = work
        self._known: OrderedDict[tuple[str, str], tuple[float, Principal]] = OrderedDict()

    async def of(self, request: Request) -> Principal:
        """Return the caller.

        Raises:
            Unauthenticated: the request has no credentials, or unknown ones.
        """
        key = credential_of(request) or "", client_address(request)
        found = self._known.get(key)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        by = await run_in_threadpool(self._identify, request)
        self._known[key] = time.monotonic() + KNOWN_SECONDS, by
        self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return by

    def _identify(self, request: Request) -> Principal:
        with self._work() as work:
            return identify(request, work)


class Guarded:
    """An endpoint behind a permission."""

    def __init__(
        self, endpoint: Endpoint, permission: Permission, cost: RequestCost, methods: frozenset[str]
    ) -> None:
        self.permission = permission
        self.cost = cost
        self._endpoint = endpoint
        self.methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            Refusal: the caller may not do this, or it cannot be done.
            TryLater: too many requests are under way.
        """
        request = Request(scope, receive, send)
        if request.method not in self.methods:
            raise _not_allowed(self.methods)
        room: WaitingRoom = scope["app"].state.waiting_room
        async with room.turn(self.cost, request, room.whom(request)):
            callers: KnownCallers = scope["app"].state.known_callers
            by = await callers.of(request)
            if request.method not in SAFE_METHODS:
                require_own_site(request, by)
            require(by, self.permission)
            answer = await self._endpoint(request, by)
            await answer(scope, receive, send)


class ByMethod:
    """An address with several endpoints, each for other methods."""

    def __init__(self, *endpoints: Guarded) -> None:
        self.endpoints = endpoints
        self._by_method = {method: one for one in endpoints for method in one.methods}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            HTTPException: no endpoint has its method.
        """
        found = self._by_method.get(scope["method"])
        if found is None:
            raise _not_allowed(self._by_method)
        await found(scope, receive, send)


def _not_allowed(methods: Iterable[str]) -> HTTPException:
    return HTTPException(
        HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(methods))}
    )


def require_own_site(request: Request, by: Principal) -> None:
    """Return unless another site's page may have made the browser send the request.

    A session's cookie comes with whatever request a browser sends, a bearer token does not.
    DICOMweb clients know no token of ours against that; so the browser must say where the request
    comes from.

    Raises:
        Forbidden: it does not come from a page of ours.
    """
    if by.is_program or request.headers.get("sec-fetch-site") == "same-origin":
        return
    origin = request.headers.get("origin", "")
    if origin and origin.partition("://")[2] == request.headers.get("host"):
        return
    raise Forbidden(message("This needs a page of ours, or a bearer token."))
