"""One user who asks for much keeps nobody else waiting; what waits holds nothing.

The turns themselves are in tests/unit/api/test_turns.py.
"""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from draw_shared.web.turns import BUDGETS, RequestCost
from support import datasets
from support.indexed import IndexedStorage
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

ASKED = 60
PATIENCE = 60


@pytest.fixture(scope="module")
def viewer(shared_api):
    """One who is known: what he asks before that counts against his address."""
    client = shared_api.of_role("viewer")
    assert client.get("/api/v1/me").status_code == 200
    return client


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture(scope="module")
def stored(shared_api):
    """The SOP Instance UID of an object on the volume."""
    archive = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    made = datasets.build("CT")
    archive.receive(made)
    archive.close()
    return made.SOPInstanceUID


@contextmanager
def a_locked_table(shared_api):
    """As a migration does; whoever adds up waits for it."""
    with psycopg.connect(shared_api.settings.database_url.get_secret_value()) as connection:
        connection.execute("LOCK TABLE file_deletions IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


@contextmanager
def stopped_children(shared_api, path, viewer):
    """As children do that work on a file that is made to take long."""
    assert viewer.get(path).status_code == 200
    running = [c._process.pid for c in shared_api.api._objects._children if c._process]
    for pid in running:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in running:
            os.kill(pid, signal.SIGCONT)


class Asking:
    """Many requests at a time of one client."""

    def __init__(self, client, path, number=ASKED):
        self._pool = ThreadPoolExecutor(number)
        self._asked = [self._pool.submit(client.get, path) for _ in range(number)]

    def answers(self):
        return [one.result() for one in self._asked if one.done()]

    def all_answers(self):
        return [one.result(PATIENCE) for one in self._asked]


def in_use(shared_api):
    return shared_api.api._database.engine.pool.checkedout()


def waiting(shared_api, kind):
    return shared_api.application.state.waiting_room._turns[kind].waiting()


def assert_refused(answer, status):
    assert answer.status_code == status
    assert int(answer.headers["Retry-After"]) > 0
    assert "try again in" in answer.json()["detail"]


def test_sixty_sums_of_one_viewer_delay_nobody_and_hold_two_connections(
    shared_api, viewer, operator
):
    budget = BUDGETS[RequestCost.SUMS]
    with a_locked_table(shared_api):
        asking = Asking(viewer, "/api/v1/storage")
        assert wait_until(lambda: waiting(shared_api, RequestCost.SUMS) == budget.waiting, PATIENCE)
        refused = ASKED - budget.waiting - budget.each
        assert wait_until(lambda: len(asking.answers()) >= refused, PATIENCE)
        for answer in asking.answers():
            assert_refused(answer, 429)
        assert in_use(shared_api) <= budget.each + 1
        for path in ("/api/v1/studies", "/jobs", "/studies"):
            assert operator.get(path).status_code == 200
        # Nor anything else that he himself asks for.
        assert viewer.get("/api/v1/studies").status_code == 200
        assert len(asking.answers()) == refused
    statuses = [answer.status_code for answer in asking.all_answers()]
    assert statuses.count(200) == budget.waiting + budget.each


def test_sixty_looks_into_objects_of_one_viewer_delay_nobody(shared_api, viewer, operator, stored):
    path = f"/api/v1/instances/{stored}/elements"
    with stopped_children(shared_api, path, viewer):
        asking = Asking(viewer, path)
        there = ASKED - BUDGETS[RequestCost.OBJECTS].each
        assert wait_until(lambda: waiting(shared_api, RequestCost.OBJECTS) == there, PATIENCE)
        assert operator.get("/api/v1/studies").status_code == 200
        assert operator.get("/studies").status_code == 200
        assert in_use(shared_api) <= BUDGETS[RequestCost.OBJECTS].each + 1
        assert asking.answers() == []
    assert {answer.status_code for answer in asking.all_answers()} == {200}


def test_a_page_says_in_words_that_there_is_too_much(shared_api, viewer):
    with a_locked_table(shared_api):
        asking = Asking(viewer, "/storage", BUDGETS[RequestCost.SUMS].waiting + 8)
        assert wait_until(lambda: len(asking.answers()) == 6, PATIENCE)
        for answer in asking.answers():
            assert answer.status_code == 429
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "Too many of your requests are under way" in answer.text
    asking.all_answers()


@pytest.mark.parametrize("path", ["/api/v1/retrieves/events", "/live/dashboard"])
def test_the_streams_of_one_viewer_leave_room_for_those_of_others(
    shared_api, viewer, operator, path
):
    each = BUDGETS[RequestCost.STREAMS].each
    with ExitStack() as stack:
        for _ in range(each):
            answer = stack.enter_context(viewer.stream("GET", path))
            assert answer.headers["Content-Type"].startswith("text/event-stream")
        for other in ("/api/v1/retrieves/events", "/live/jobs"):
            refused = viewer.get(other)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) > 0
        with operator.stream("GET", path) as answer:
            assert answer.status_code == 200
    state = shared_api.application.state.waiting_room._turns[RequestCost.STREAMS]
    assert wait_until(lambda: not state._held, PATIENCE)


def test_sign_ins_from_one_address_leave_threads_for_others(shared_api, operator):
    """Each takes a fifth of a second of a processor, on purpose, and anybody may ask for it."""
    client = shared_api.client()
    body = {"name": "nobody", "password": "wrong password"}
    most = 0
    over = threading.Event()

    def watch():
        nonlocal most
        while not over.wait(0.005):
            most = max(most, in_use(shared_api))

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(ASKED) as pool:
        asked = [pool.submit(client.post, "/api/v1/session", json=body) for _ in range(ASKED)]
        assert operator.get("/api/v1/studies").status_code == 200
        statuses = {one.result(PATIENCE).status_code for one in asked}
    over.set()
    watching.join(PATIENCE)
    assert statuses <= {401, 429}
    assert most <= BUDGETS[RequestCost.SIGN_INS].each + 2


def test_whose_request_it_is_counts_not_the_credentials_that_it_invents(shared_api, viewer):
    from starlette.requests import Request

    room = shared_api.application.state.waiting_room
    viewer.get("/api/v1/me")

    def whom(headers, client="192.0.2.7"):
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return room.whom(Request({"type": "http", "headers": raw, "client": (client, 1)}))

    cookie = f"draw_session={viewer.cookies['draw_session']}"
    token = shared_api.token()
    bearer = {"Authorization": f"Bearer {token}"}
    assert whom({"Cookie": "draw_session=invented"}) == "192.0.2.7"
    assert whom({"Authorization": "Bearer invented"}) == whom({}) == "192.0.2.7"
    assert whom({}, "2001:db8::1") == whom({}, "2001:db8::2")
    assert whom({"Cookie": cookie}).startswith("user ")
    assert whom(bearer) == "192.0.2.7"
    assert shared_api.client().get("/api/v1/me", headers=bearer).status_code == 200
    assert whom(bearer).startswith("user ")
    assert whom(bearer) != whom({"Cookie": cookie})
