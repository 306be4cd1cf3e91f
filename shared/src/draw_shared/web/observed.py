"""Adds to every request: headers that protect browsers, metrics, no caching of answers.

It is the outermost layer of the application. Answers to failures in any other layer therefore get
the same headers and are counted, too.
"""

import time
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from draw_shared.errors import Transient
from draw_shared.web.metrics import WebMetrics
from draw_shared.web.problems import SOMETHING_UNEXPECTED, problem
from draw_shared.web.protection import CACHING, HEADERS, NO_STORE, STRICT_TRANSPORT


class Observed:
    """ASGI middleware; does not delay streaming."""

    def __init__(self, application: ASGIApp, metrics: WebMetrics) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _protect(message, scope["scheme"])
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            await self._application(scope, receive, observed)
        except Exception as error:
            # If the database breaks a stream, the stream ends early, but nothing of ours is wrong.
            if not isinstance(error.__cause__, Transient):
                self._metrics.unexpected_failures.inc()
            if started:
                # The failed layer has logged it; the server closes what is not complete.
                return
            answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, SOMETHING_UNEXPECTED)
            await answer(scope, receive, observed)
            raise

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, never the path: paths hold identifiers.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)


class ObservedApplication(FastAPI):
    """FastAPI inside `Observed`, which added middleware could not surround."""

    @override
    def build_middleware_stack(self) -> ASGIApp:
        return Observed(super().build_middleware_stack(), self.state.metrics)


METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _protect(start: Message, scheme: str) -> None:
    headers = MutableHeaders(scope=start)
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault(CACHING, NO_STORE)
    if scheme == "https":
        headers["Strict-Transport-Security"] = STRICT_TRANSPORT
