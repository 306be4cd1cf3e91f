"""Requests take fair turns, and nobody's queue grows without end."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from draw_api.app import POOL_SIZE
from draw_api.handlers.web.live import RENDERERS
from draw_api.metrics import ApiMetrics
from draw_dicomweb.app import POOL_SIZE as DICOMWEB_POOL_SIZE
from draw_shared.contracts.failures import Busy, TooMuchAtOnce
from draw_shared.web.callers import MAX_REMEMBERED, Callers
from draw_shared.web.turns import BUDGETS, Budget, RequestCost, Turns

pytestmark = pytest.mark.security

METRICS = ApiMetrics(CollectorRegistry())
PATIENT = 60.0


def turns(places, each, waiting, patience=PATIENT):
    return Turns(RequestCost.OBJECTS, Budget(places, each, waiting, patience), METRICS)


class Work:
    """Requests that run until they are told to end, in the order in which they got their turn."""

    def __init__(self, at):
        self.at, self.order, self.ends, self.tasks = at, [], {}, {}

    async def ask(self, whom, name):
        self.ends[name] = asyncio.Event()

        async def run():
            await self.at.take(whom)
            with self.at.hold(whom):
                self.order.append(name)
                await self.ends[name].wait()

        self.tasks[name] = asyncio.create_task(run())
        await settled()

    async def end(self, name):
        self.ends[name].set()
        await self.tasks[name]
        await settled()

    async def end_all(self):
        for name in self.tasks:
            self.ends[name].set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_user_takes_no_more_than_his_places_and_others_come_at_once():
    async def told():
        work = Work(turns(places=3, each=2, waiting=100))
        for number in range(60):
            await work.ask("viewer", f"v{number}")
        await work.ask("other", "o")
        assert work.order == ["v0", "v1", "o"]
        assert work.at.waiting() == 58
        await work.end_all()
        assert len(work.order) == 61
        assert work.at.waiting() == 0

    asyncio.run(told())


def test_free_places_go_round_among_users_however_much_each_has_waiting():
    async def told():
        work = Work(turns(places=2, each=2, waiting=100))
        for name in ("a0", "a1", "a2", "a3", "a4"):
            await work.ask("a", name)
        for name in ("b0", "b1"):
            await work.ask("b", name)
        await work.ask("c", "c0")
        for name in ("a0", "a1", "a2", "b0"):
            await work.end(name)
        assert work.order == ["a0", "a1", "a2", "b0", "c0", "a3"]
        await work.end_all()

    asyncio.run(told())


def test_too_much_that_waits_is_told_so_at_once_and_only_to_its_user():
    async def told():
        work = Work(turns(places=1, each=1, waiting=2))
        for name in ("a0", "a1", "a2"):
            await work.ask("a", name)
        with pytest.raises(TooMuchAtOnce) as refused:
            await work.at.take("a")
        assert refused.value.retry_after_seconds > 0
        await work.ask("b", "b0")
        assert not work.tasks["b0"].done()
        await work.end_all()
        assert "b0" in work.order

    asyncio.run(told())


def test_who_has_waited_too_long_is_told_to_come_again_and_leaves_no_trace():
    async def told():
        at = turns(places=1, each=1, waiting=5, patience=0.01)
        await at.take("a")
        with at.hold("a"), pytest.raises(Busy):
            await at.take("b")
        assert at.waiting() == 0
        assert (at._held, at._queues) == ({}, {})
        await at.take("b")

    asyncio.run(told())


def test_whoever_goes_away_while_waiting_gives_up_his_turn():
    async def told():
        work = Work(turns(places=1, each=1, waiting=5))
        for whom in ("a", "b", "c"):
            await work.ask(whom, whom)
        work.tasks["b"].cancel()
        await settled()
        await work.end("a")
        assert work.order == ["a", "c"]
        await work.end_all()
        assert work.at._held == {}

    asyncio.run(told())


def test_a_turn_that_comes_in_the_moment_of_going_away_is_given_back():
    async def told():
        work = Work(turns(places=1, each=1, waiting=5))
        for whom in ("a", "b", "c"):
            await work.ask(whom, whom)
        work.ends["a"].set()
        await work.tasks["a"]
        work.tasks["b"].cancel()
        await settled()
        assert work.order[-1] == "c"
        await work.end_all()
        assert work.at._held == {}

    asyncio.run(told())


def test_what_does_not_wait_says_whether_it_is_the_users_own_doing():
    async def told():
        at = turns(places=2, each=1, waiting=0)
        await at.take("a")
        with pytest.raises(TooMuchAtOnce):
            await at.take("a")
        await at.take("b")
        with pytest.raises(Busy):
            await at.take("c")

    asyncio.run(told())


def test_what_runs_finds_a_thread_and_a_connection_to_the_database():
    # Uploads are for DICOMweb alone; streams and bodies hold neither.
    others = {RequestCost.STREAMS, RequestCost.BODIES, RequestCost.UPLOADS}
    holding = [b.places for k, b in BUDGETS.items() if k not in others]
    connections = 2 * POOL_SIZE  # the pool overflows to as many again
    assert sum(holding) + RENDERERS._max_workers <= connections
    assert all(2 * budget.each <= budget.places for budget in BUDGETS.values())
    of_dicomweb = RequestCost.ORDINARY, RequestCost.DOWNLOADS, RequestCost.UPLOADS
    assert sum(BUDGETS[kind].places for kind in of_dicomweb) <= 2 * DICOMWEB_POOL_SIZE


def test_invented_credentials_stand_for_nobody_and_old_ones_are_forgotten():
    callers = Callers()
    callers.remember("right", 7)
    assert (callers.user("right"), callers.user("wrong"), callers.user("\ud800")) == (7, None, None)
    for number in range(MAX_REMEMBERED):
        callers.remember(f"token {number}", number)
    assert callers.user("right") is None
