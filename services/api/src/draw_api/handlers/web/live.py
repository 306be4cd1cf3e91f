"""Streams the changing parts of pages as server-sent events.

A stream sends the page's fragment whenever it has changed. Each rendering is a transaction of its
own that also checks the session and its user's permission, so the stream ends with them.

Concurrency: a few extra threads render, for each stream one fragment at a time; `turns` limits the
number of streams.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final

from fastapi import Request
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.languages import speak
from draw_api.handlers.web.pages import View, frame_of, render
from draw_api.handlers.work import UnitOfWork, WorkFactory
from draw_shared.access.authentication import require
from draw_shared.access.permissions import Permission
from draw_shared.contracts.failures import Refusal
from draw_shared.errors import Transient
from draw_shared.web.identity import COOKIE, client_address

RENDER_INTERVAL_SECONDS: Final = 2.0
POLL_INTERVAL_SECONDS: Final = 0.25
KEEP_ALIVE_INTERVAL_SECONDS: Final = 15.0
MAX_STREAM_SECONDS: Final = 1800.0
RENDERERS: Final = ThreadPoolExecutor(4, thread_name_prefix="live")
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
UNAVAILABLE: Final = "event: unavailable\ndata: -\n\n"

Look = Callable[[UnitOfWork], View]


def stream(
    request: Request,
    look: Look,
    path: str,
    permission: Permission,
    *,
    interval: float = RENDER_INTERVAL_SECONDS,
) -> StreamingResponse:
    """Return the stream of the views from `look`, each as the fragment of the page at `path`."""
    return StreamingResponse(
        _events(request, look, path, permission, interval),
        media_type="text/event-stream",
        headers=HEADERS,
    )


async def _events(
    request: Request, look: Look, path: str, permission: Permission, interval: float
) -> AsyncIterator[str]:
    state, loop = request.app.state, asyncio.get_running_loop()
    shown, began = "", time.monotonic()
    spoken = began
    while time.monotonic() - began < MAX_STREAM_SECONDS:
        found = await loop.run_in_executor(
            RENDERERS, copy_context().run, _render_fragment, request, look, path, permission
        )
        if found is None:
            yield UNAVAILABLE
            return
        if found != shown or time.monotonic() - spoken > KEEP_ALIVE_INTERVAL_SECONDS:
            yield _event(found) if found != shown else ": still here\n\n"
            shown, spoken = found, time.monotonic()
        until = time.monotonic() + interval
        while time.monotonic() < until:
            if state.live_retrieves.stopping:
                return
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


def _render_fragment(request: Request, look: Look, path: str, permission: Permission) -> str | None:
    """Return the fragment as it is now, or None when the session or the permission has ended."""
    factory: WorkFactory = request.app.state.work
    try:
        with factory() as work:
            by = work.authentication.by_session(
                request.cookies.get(COOKIE, ""), client_address(request)
            )
            require(by, permission)
            speak(by.language)
            view = look(work)
            frame = frame_of(request, by, path)
    except (Refusal, Transient):
        return None
    return render(view.fragment, view=view, frame=frame)


def _event(text: str) -> str:
    lines = "\n".join(f"data: {line}" for line in text.splitlines())
    return f"{lines}\n\n"
