"""`/livez`, `/readyz` and `/metrics` on one small port."""

import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from typing_extensions import override

from draw_shared.runtime.lifecycle import State

log = structlog.get_logger()

Check = Callable[[], bool]
"""Returns whether one dependency of the service is available; must be quick."""


class Health:
    """Answers whether this process is alive and whether it is ready.

    Args:
        checks: the required checks by name.
        reasons: by the same names, functions that explain a failed check in a sentence, or "".
    """

    def __init__(
        self,
        state: Callable[[], State],
        checks: Mapping[str, Check],
        reasons: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        self._state = state
        self._checks = dict(checks)
        self._reasons = dict(reasons or {})

    def live(self) -> bool:
        """Return False only if a restart would help."""
        return self._state() is not State.STOPPED

    def failing(self) -> list[str]:
        """Return the failed checks with their reasons; an empty list means ready."""
        if self._state() is not State.READY:
            return [str(self._state())]
        return [self._explain(name) for name, check in self._checks.items() if not check()]

    def _explain(self, name: str) -> str:
        reason = self._reasons[name]() if name in self._reasons else ""
        return f"{name}: {reason}" if reason else name


class HealthServer:
    """The HTTP port of a service without a web page."""

    name = "health"

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        self._address = (host, port)
        self._health = health
        self._registry = registry
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port in use, even if port 0 was requested."""
        return self._server.server_port if self._server is not None else self._address[1]

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = _Server(self._address, _handler(self._health, self._registry))
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self, deadline_seconds: float) -> None:  # noqa: ARG002 - closing takes no time
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a probe that closed before the end of its answer, as HAProxy's do."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            log.error("health.answer_failed", exc_info=error)


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/livez":
                    self._answer(health.live(), "live")
                case "/readyz":
                    failing = health.failing()
                    self._answer(not failing, ", ".join(failing) or "ready")
                case "/metrics":
                    self._send(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
                case _:
                    self._send(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain")

        def _answer(self, good: bool, words: str) -> None:  # noqa: FBT001
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, f"{words}\n".encode(), "text/plain; charset=utf-8")

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Log nothing for probes and scrapes."""

    return Handler
