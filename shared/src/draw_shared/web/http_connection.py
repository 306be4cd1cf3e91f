"""Limits each HTTP/1.1 connection where uvicorn sets no limit.

A client has limited time to send a request's head and its body, and to accept the answer. Each
address has a maximum of connections, and so has the server. Answers that uvicorn gives itself,
before the application sees a request, get the same headers as the application's answers.

Concurrency: everything here runs as callbacks on the server's event loop, so it needs no locks; it
must never block. The application's routes run on other threads. All state is in memory: if the
process dies, its connections break and clients connect again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from draw_shared.addresses import budget_key
from draw_shared.web.protection import CACHING, HEADERS, NO_STORE
from draw_shared.wording import message

HEAD: Final = "head"
BODY: Final = "body"
REST: Final = "rest of a body"
MIN_TAKEN_BYTES: Final = 16 * 1024
"""A client that accepts fewer bytes of its answer within the time limit counts as gone."""
RETRY_DELAY_SECONDS: Final = 10
PROBLEM: Final = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class ConnectionTimeouts:
    """The time limits of a client, in seconds."""

    head: float = 10.0
    """To send a request's first line and headers."""
    body: float = 60.0
    least_bytes: int | None = None
    """A body that brings as much within `body` may go on; None: it must be complete by then."""
    rest: float = 5.0
    """To send the rest of a body that is discarded because the answer was already given."""
    answer: float = 30.0
    """To accept the next part of an answer."""

    def of(self, waits_for: str) -> float:
        """Return the time limit for what a connection waits for."""
        return {HEAD: self.head, BODY: self.body, REST: self.rest}[waits_for]


@dataclass(slots=True)
class ConnectionLimits:
    """Limits the number of connections, in total and from each address.

    If a new connection finds its address's share or the total used up, it replaces the oldest one
    there that has no request. Clients that only hold connections therefore keep nobody out, and a
    client that leaves many open may continue.
    """

    most: int
    most_each: int
    times: ConnectionTimeouts = field(default_factory=ConnectionTimeouts)
    unlimited: Callable[[str], bool] = field(default=lambda _: False)
    """Whether an address stands for many clients, as a trusted proxy's does."""
    refused: Callable[[int], None] = field(default=lambda _: None)
    """Receives the status of each answer that the application does not see."""
    _inside: "dict[BoundedConnection, str]" = field(default_factory=dict)
    _of_each: Counter[str] = field(default_factory=Counter)

    def enter(self, connection: "BoundedConnection", address: str) -> bool:
        """Take a place for the connection; return whether there was one."""
        whom = budget_key(address)
        if self._of_each[whom] >= self.most_each and not self.unlimited(address):
            if not self._make_room(of=whom):
                return False
        elif len(self._inside) >= self.most and not self._make_room():
            return False
        self._inside[connection] = whom
        self._of_each[whom] += 1
        return True

    def _make_room(self, of: str | None = None) -> bool:
        idle = (
            held
            for held, whose in self._inside.items()
            if held.without_request and of in {None, whose}
        )
        oldest = next(idle, None)
        if oldest is None:
            return False
        oldest.drop()
        self.leave(oldest)
        return True

    def leave(self, connection: "BoundedConnection") -> None:
        """Free the connection's place."""
        whom = self._inside.pop(connection, None)
        if whom is not None:
            self._of_each[whom] -= 1
            if not self._of_each[whom]:
                del self._of_each[whom]


class BoundedConnection(H11Protocol):
    """One connection with time limits and a place among the limited connections."""

    def __init__(self, *, room: ConnectionLimits, **given: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**given)
        self._room = room
        self._waits_for: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._received = 0
        """Bytes since the time limit was set."""

    @property
    def without_request(self) -> bool:
        """Whether the connection has no request under way."""
        cycle = self._cycle
        return cycle is None or cycle.response_complete

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        # uvicorn sets no type for the time before the first request, when there is no cycle.
        return cast("RequestResponseCycle | None", self.cycle)

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._room.enter(self, self.client[0] if self.client else ""):
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                message("There are too many connections; close some, or try again later."),
                ("Retry-After", str(RETRY_DELAY_SECONDS)),
            )
            return
        self._watch()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        for timer in (self._timer, self._taking):
            if timer is not None:
                timer.cancel()
        self._timer = self._taking = None
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._received += len(data)
            super().data_received(data)
            self._watch()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, message("This is not a valid HTTP request."))

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_taking()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def drop(self) -> None:
        """Close the connection."""
        if not self.transport.is_closing():
            self.transport.close()

    def _watch(self) -> None:
        """Start the time limit for what the client must send next, when that changes."""
        if self.transport.is_closing():
            return
        waits_for = self._expected_part()
        if waits_for != self._waits_for:
            self._waits_for = waits_for
            self._set_timer(self._room.times.of(waits_for) if waits_for else None)

    def _expected_part(self) -> str | None:
        """Return what the client must send next, or None if it need not send anything."""
        if self.conn.their_state is h11.SEND_BODY:
            return REST if self.conn.our_state is h11.DONE else BODY
        # uvicorn itself ends a connection that stays idle after an answer.
        idle = self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]
        return HEAD if self.conn.their_state is h11.IDLE and not idle else None

    def _set_timer(self, seconds: float | None) -> None:
        self._received = 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._waits_for == REST:
            self.drop()
        elif self._waits_for == BODY and (self.flow.read_paused or self._goes_on()):
            # The client cannot send while nobody reads.
            self._set_timer(self._room.times.body)
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, message("The request did not come in time."))

    def _goes_on(self) -> bool:
        least = self._room.times.least_bytes
        return least is not None and self._received >= least

    def _watch_taking(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(self._room.times.answer, self._check_taken, left)

    def _check_taken(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if before - left < MIN_TAKEN_BYTES:
            self.transport.abort()
        else:
            self._watch_taking()

    def _refuse(self, status: HTTPStatus, words: str, *more: tuple[str, str]) -> None:
        """Answer without the application, if nothing was answered yet, and close."""
        if (cycle := self._cycle) is not None and not cycle.response_complete:
            # The application's further messages are discarded.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._room.refused(int(status))
            for event in _answer(
                status, words, [*self.server_state.default_headers, *_encode_headers(more)]
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.drop()


def _answer(
    status: HTTPStatus, words: str, headers: Iterable[tuple[bytes, bytes]]
) -> Iterator[h11.Event]:
    document = {"type": "about:blank", "title": status.phrase, "status": int(status)}
    body = json.dumps({**document, "detail": words, "errors": []}).encode()
    yield h11.Response(
        status_code=status,
        reason=status.phrase.encode(),
        headers=[
            *headers,
            *_encode_headers(HEADERS.items()),
            *_encode_headers([(CACHING, NO_STORE)]),
            (b"content-type", PROBLEM),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ],
    )
    yield h11.Data(data=body)
    yield h11.EndOfMessage()


def _encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
