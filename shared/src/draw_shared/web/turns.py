"""Makes requests wait for their turn, so that one busy user does not delay the others.

Each kind of work has a number of places, and each user may hold some of them. A request without a
place waits in its user's queue, where it holds neither a thread nor a database connection. A free
place goes to the user whose last turn was longest ago. If too many requests of a user wait, a
further one is refused at once (429); if one waits too long, it is refused then (503). Both answers
name a time after which to try again.

Concurrency: everything here runs on the server's event loop, so it needs no locks; the admitted
requests themselves run in parallel on the thread pool. The queues are in memory, each replica has
its own, and a client whose request dies with the process must repeat it.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from draw_shared.addresses import budget_key
from draw_shared.contracts.failures import Busy, TooMuchAtOnce
from draw_shared.web.callers import Callers
from draw_shared.web.identity import SAFE_METHODS, client_address, credential_of, dependants_of
from draw_shared.web.metrics import WebMetrics

RETRY_DELAY_SECONDS: Final = 5


class RequestCost(StrEnum):
    """What a request costs."""

    ORDINARY = "ordinary"
    OBJECTS = "objects"
    """Opens stored objects in a child process."""
    SUMS = "sums"
    """Sums up or compares much of the database."""
    DOWNLOADS = "downloads"
    """Sends much data, for as long as the client takes to read it."""
    SIGN_INS = "sign-ins"
    """Hashes a password, slowly on purpose; always counted by address."""
    STREAMS = "streams"
    """Stays open and sends changes."""
    BODIES = "bodies"
    """Has a large body that must be read before anything else."""
    UPLOADS = "uploads"
    """Sends much data, for as long as the client takes."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests of one kind may run and wait."""

    places: int
    each: int
    """Places of one user."""
    waiting: int
    """Waiting requests of one user."""
    patience_seconds: float = 30.0


BUDGETS: Final[Mapping[RequestCost, Budget]] = {
    # Together with the reads of streams at most 40: the number of threads and of database
    # connections. A running request therefore waits for neither.
    RequestCost.ORDINARY: Budget(places=14, each=6, waiting=100),
    RequestCost.OBJECTS: Budget(places=4, each=2, waiting=100),
    RequestCost.SUMS: Budget(places=4, each=2, waiting=20),
    RequestCost.DOWNLOADS: Budget(places=10, each=4, waiting=20, patience_seconds=60.0),
    RequestCost.SIGN_INS: Budget(places=4, each=2, waiting=20),
    # They hold neither.
    RequestCost.STREAMS: Budget(places=200, each=12, waiting=0),
    RequestCost.BODIES: Budget(places=8, each=2, waiting=8),
    # They have threads of their own, and none while the client sends.
    RequestCost.UPLOADS: Budget(places=16, each=8, waiting=32, patience_seconds=60.0),
}


class Turns:
    """The places of one kind of work, and the queues for them."""

    def __init__(self, kind: RequestCost, budget: Budget, metrics: WebMetrics) -> None:
        self._kind = kind
        self._budget = budget
        self._metrics = metrics
        self._held: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def waiting(self) -> int:
        """Return how many requests wait."""
        return sum(map(len, self._queues.values()))

    @contextmanager
    def hold(self, whom: str) -> Iterator[None]:
        """Free the place after the block; `take` it before."""
        try:
            yield
        finally:
            self._give_back(whom)

    async def take(self, whom: str) -> None:
        """Return when this request has a place.

        Raises:
            TooMuchAtOnce: too many requests of this user already wait.
            Busy: no place became free in time.
        """
        if self._has_room_for(whom) and whom not in self._queues:
            self._held[whom] += 1
            return
        queue = self._queues.setdefault(whom, deque())
        try:
            if len(queue) >= self._budget.waiting:
                raise self._refusal(whom)
            turn = asyncio.get_running_loop().create_future()
            queue.append(turn)
        finally:
            self._forget_empty(whom)
        await self._wait_for_turn(whom, turn)

    async def _wait_for_turn(self, whom: str, turn: "asyncio.Future[None]") -> None:
        try:
            async with asyncio.timeout(self._budget.patience_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It got its turn in the same moment.
                self._give_back(whom)
            else:
                with suppress(KeyError, ValueError):
                    self._queues[whom].remove(turn)
                self._forget_empty(whom)
            if isinstance(error, TimeoutError):
                self._metrics.turned_away.labels(self._kind, "busy").inc()
                raise Busy(RETRY_DELAY_SECONDS) from None
            raise

    def _refusal(self, whom: str) -> Exception:
        if self._budget.waiting or self._held[whom] >= self._budget.each:
            self._metrics.turned_away.labels(self._kind, "too many").inc()
            return TooMuchAtOnce(RETRY_DELAY_SECONDS)
        self._metrics.turned_away.labels(self._kind, "busy").inc()
        return Busy(RETRY_DELAY_SECONDS)

    def _has_room_for(self, whom: str) -> bool:
        return self._held.total() < self._budget.places and self._held[whom] < self._budget.each

    def _give_back(self, whom: str) -> None:
        self._held[whom] -= 1
        if not self._held[whom]:
            del self._held[whom]
        while (next_one := next(filter(self._has_room_for, self._queues), None)) is not None:
            turn = self._queues[next_one].popleft()
            # Behind the others, if more of its requests wait.
            self._queues.move_to_end(next_one)
            self._forget_empty(next_one)
            if not turn.done():
                self._held[next_one] += 1
                turn.set_result(None)

    def _forget_empty(self, whom: str) -> None:
        if whom in self._queues and not self._queues[whom]:
            del self._queues[whom]


class DeclaredCost:
    """A route's dependency that declares its cost; without one the route is ordinary."""

    def __init__(self, kind: RequestCost) -> None:
        self.kind = kind

    async def __call__(self) -> None:
        """Do nothing: `takes_turn` reads the cost before anything else happens."""


def costs(kind: RequestCost) -> Any:  # noqa: ANN401 - what stands at a route
    """Return the dependency with which a route declares its cost."""
    return Depends(DeclaredCost(kind))


class WaitingRoom:
    """The turns of all kinds."""

    def __init__(self, callers: Callers, metrics: WebMetrics) -> None:
        self._callers = callers
        self._turns = {kind: Turns(kind, budget, metrics) for kind, budget in BUDGETS.items()}
        for kind, turns in self._turns.items():
            metrics.waiting.labels(kind).set_function(turns.waiting)

    @asynccontextmanager
    async def turn(self, kind: RequestCost, request: Request, whom: str) -> AsyncIterator[None]:
        """Run the block in its turn; raise instead if the client is gone."""
        turns = self._turns[kind]
        await turns.take(whom)
        with turns.hold(whom):
            if request.method in SAFE_METHODS and await request.is_disconnected():
                raise ClientDisconnect
            yield

    def whom(self, request: Request) -> str:
        """Return whose budget a request counts against."""
        credential = credential_of(request)
        user_id = self._callers.user(credential) if credential else None
        return whom_of(request) if user_id is None else f"user {user_id}"


def whom_of(request: Request) -> str:
    """Return the address that a request counts against while its user is unknown."""
    return budget_key(client_address(request))


async def takes_turn(request: Request) -> AsyncIterator[None]:
    """Let a route run in its turn, and hold the place until its answer is sent.

    Raises:
        TooMuchAtOnce: too many requests of this user already wait.
        Busy: no place became free in time.
    """
    room: WaitingRoom = request.app.state.waiting_room
    found = (one.call for one in dependants_of(request.scope["route"].dependant))
    kind = next(
        (call.kind for call in found if isinstance(call, DeclaredCost)), RequestCost.ORDINARY
    )
    whom = whom_of(request) if kind is RequestCost.SIGN_INS else room.whom(request)
    async with room.turn(kind, request, whom):
        yield


TAKES_TURN: Final = Depends(takes_turn, scope="request")
"""Must be the first dependency of every route: the others wait until it has a place."""
