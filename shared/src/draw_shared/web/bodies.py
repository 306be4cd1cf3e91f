"""Limits the size of request bodies before any of a body is read.

Everybody may send a form or document of usual size. Larger bodies are accepted only from known
users, and only a few at a time, because a body is completely in memory before a route sees it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from draw_shared.contracts.failures import Unauthenticated
from draw_shared.web.identity import credential_of, identify
from draw_shared.web.turns import RequestCost, WaitingRoom
from draw_shared.web.work import AuthenticatingWorkFactory
from draw_shared.wording import message

USUAL_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 8 * 1024**2
"""The longest list of studies, as a document; the other routes have limits of their own."""


class TooLargeForStrangers(HTTPException):
    """Who signs in may send as much."""


class BoundedBodies:
    """ASGI middleware; a request of usual size passes unchanged."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            HTTPException: the body is too large.
            TryLater: too many large bodies are being read.
        """
        if scope["type"] != "http" or _declared_length(scope) <= USUAL_BYTES:
            await self._application(scope, receive, send)
            return
        if _declared_length(scope) > MAX_BYTES and not _is_chunked(scope):
            raise _too_large(MAX_BYTES)
        async with _admit(Request(scope)) as most:
            await self._application(scope, _limit_receive(receive, most), send)


@asynccontextmanager
async def _admit(request: Request) -> AsyncIterator[int]:
    """Yield how much may be read, once it is this request's turn."""
    room: WaitingRoom = request.app.state.waiting_room
    if credential_of(request) is not None:
        async with room.turn(RequestCost.ORDINARY, request, room.whom(request)):
            somebody = await run_in_threadpool(_is_known, request)
        if somebody:
            async with room.turn(RequestCost.BODIES, request, room.whom(request)):
                yield MAX_BYTES
            return
    if not _is_chunked(request.scope):
        raise _too_large(USUAL_BYTES, signed_in=False)
    yield USUAL_BYTES


def _is_known(request: Request) -> bool:
    factory: AuthenticatingWorkFactory = request.app.state.work
    with factory() as work:
        try:
            identify(request, work)
        except Unauthenticated:
            return False
    return True


def _declared_length(scope: Scope) -> int:
    """Return the declared length of the body; a chunked body may have any length."""
    if _is_chunked(scope):
        return MAX_BYTES + 1
    # The server accepts only one decimal number (RFC 9112 6.3).
    return int(dict(scope["headers"]).get(b"content-length", b"0"))


def _is_chunked(scope: Scope) -> bool:
    return any(name == b"transfer-encoding" for name, _ in scope["headers"])


def _limit_receive(receive: Receive, most: int) -> Receive:
    taken = 0

    async def receive_counted() -> Message:
        nonlocal taken
        event = await receive()
        taken += len(event.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return event

    return receive_counted


def _too_large(most: int, *, signed_in: bool = True) -> HTTPException:
    size = f"{most // 1024} kB" if most < 1024**2 else f"{most // 1024**2} MB"
    words = (
        message("A request has at most %(size)s.", size=size)
        if signed_in
        else message(
            "A request from somebody who is not signed in has at most %(size)s.", size=size
        )
    )
    kind = HTTPException if signed_in else TooLargeForStrangers
    return kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)


@asynccontextmanager
async def form_of(
    request: Request, *, max_files: int, max_fields: int, max_part_size: int
) -> AsyncIterator[FormData]:
    """Yield the fields of a form, and delete its files after the block.

    Raises:
        HTTPException: the body is not a form, or the form has too much in it.
    """
    try:
        data = await request.form(
            max_files=max_files, max_fields=max_fields, max_part_size=max_part_size
        )
    except HTTPException as error:
        if "fields" not in error.detail:
            raise
        raise HTTPException(
            error.status_code, message("A form has at most %(most)s fields.", most=max_fields)
        ) from None
    except UnicodeError:
        # A part may name any of Python's encodings, and some fail in their own ways.
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, message("The form's encoding is not known.")
        ) from None
    try:
        yield data
    finally:
        await data.close()
