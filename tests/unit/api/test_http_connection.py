"""What a client may do before there is a request, seen from its side of the socket.

The shipped times are longer; each test that waits gives the server shorter ones.
"""

import json
import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest

from draw_shared.web.http_connection import ConnectionLimits, ConnectionTimeouts
from draw_shared.web.protection import HEADERS
from draw_shared.web.server import WebServer
from support.waiting import wait_until

pytestmark = pytest.mark.security

PATIENCE = 60
SHORT = ConnectionTimeouts(head=0.3, body=0.3, rest=0.3, answer=0.3)
PATIENT = ConnectionTimeouts(head=60, body=60, rest=60, answer=60)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Reads the body of a request if it is told to, and answers."""

    def __init__(self):
        self.seen, self.gone, self.size = 0, 0, 2

    async def __call__(self, scope, receive, send):
        self.seen += 1
        if scope["path"] == "/read":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
        headers = [(b"content-length", str(self.size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await send({"type": "http.response.body", "body": b"x" * self.size})
        finally:
            self.gone += scope["path"] == "/large"


@contextmanager
def serving(times=PATIENT, trusted="", **more):
    application = Application()
    server = WebServer(application, "127.0.0.1", 0, trusted_proxies=trusted, times=times, **more)
    server.start()
    try:
        yield application, server
    finally:
        server.stop(3)


@contextmanager
def connected(server, source="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE, (source, 0)) as made:
        yield made


def was_answered(connection):
    """Return whether the next answer is one of the application."""
    raw = b""
    while not raw.endswith(b"\r\n\r\nxx"):
        raw += (piece := connection.recv(65536))
        if not piece:
            return False
    return raw.startswith(b"HTTP/1.1 200")


def told(connection):
    """Return everything up to the end that the server makes: status, headers, body."""
    raw = b""
    while piece := connection.recv(65536):
        raw += piece
    if not raw:
        return None, {}, b""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
    return int(status.split()[1]), headers, body


def assert_refused(answer, status):
    found, headers, body = answer
    assert found == status
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    document = json.loads(body)
    assert document["status"] == status
    assert document["detail"]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000,
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_with_every_header(sent):
    statuses = []
    with serving(refused=statuses.append) as (application, server), connected(server) as made:
        made.sendall(sent)
        assert_refused(told(made), 400)
        assert application.seen == 0
    assert statuses == [400]


def test_a_broken_chunk_ends_the_request_that_it_belongs_to():
    with serving() as (application, server), connected(server) as made:
        made.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert_refused(told(made), 400)
        assert wait_until(lambda: application.gone == 1, PATIENCE)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_does_not_say_what_it_wants_is_not_waited_for(sent):
    with serving(SHORT) as (application, server), connected(server) as made:
        made.sendall(sent)
        assert_refused(told(made), 408)
        assert application.seen == 0


def test_a_head_that_comes_byte_by_byte_gets_no_more_time():
    with serving(SHORT) as (_, server), connected(server) as made:
        over = threading.Event()

        def trickle():
            with ExitStack() as ends:
                ends.callback(over.set)
                for byte in GET[:-2] + b"X: " + b"x" * 10_000:
                    if over.wait(0.02):
                        return
                    try:
                        made.sendall(bytes([byte]))
                    except OSError:
                        return

        sender = threading.Thread(target=trickle)
        sender.start()
        status, _, _ = told(made)
        over.set()
        sender.join(PATIENCE)
        assert status == 408


def test_a_second_request_that_does_not_come_to_its_end_is_not_waited_for_either():
    with serving(SHORT) as (application, server), connected(server) as made:
        made.sendall(GET + GET[:-2])
        status, _, rest = told(made)
        assert status == 200
        assert b" 408 " in rest
        assert application.seen == 1


def test_a_body_that_does_not_come_is_not_waited_for_and_the_route_is_told():
    with serving(SHORT) as (application, server), connected(server) as made:
        made.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nxx")
        assert_refused(told(made), 408)
        assert wait_until(lambda: application.gone == 1, PATIENCE)


def test_a_body_that_was_answered_before_is_thrown_away_for_a_while():
    with serving(SHORT) as (_, server), connected(server) as made:
        made.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nxx")
        assert told(made)[0] == 200
    with serving() as (application, server), connected(server) as made:
        made.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nxx")
        assert was_answered(made)
        made.sendall(b"xx" + GET)
        assert was_answered(made)
        assert application.seen == 2


def test_an_answer_that_nobody_takes_is_given_up():
    with serving(SHORT) as (application, server), connected(server) as made:
        application.size = 64 * 1024**2
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wait_until(lambda: not server._server.server_state.connections, PATIENCE)


def test_an_answer_that_is_taken_slowly_is_not_given_up():
    with (
        serving(ConnectionTimeouts(answer=0.3)) as (application, server),
        connected(server) as made,
    ):
        application.size = 8 * 1024**2
        made.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got, pause = 0, threading.Event()
        while piece := made.recv(256 * 1024):
            got += len(piece)
            pause.wait(0.02)
        assert got > application.size


def test_one_address_has_so_many_requests_at_a_time_and_keeps_no_other_out():
    statuses = []
    started = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nxx"
    with (
        serving(most_each=4, refused=statuses.append) as (application, server),
        ExitStack() as stack,
    ):
        held = [stack.enter_context(connected(server, "127.0.0.2")) for _ in range(4)]
        for connection in held:
            connection.sendall(started)
        assert wait_until(lambda: application.seen == 4, PATIENCE)
        with connected(server, "127.0.0.2") as fifth:
            answer = told(fifth)
            assert_refused(answer, 503)
            assert int(answer[1]["retry-after"]) > 0
        with connected(server, "127.0.0.3") as other:
            other.sendall(GET)
            assert was_answered(other)
        held[0].close()

        def has_room():
            with connected(server, "127.0.0.2") as again:
                again.sendall(GET)
                return was_answered(again)

        assert wait_until(has_room, PATIENCE)
    assert statuses[0] == 503


def test_who_leaves_connections_open_loses_the_oldest_of_its_own_and_goes_on():
    statuses = []
    with (
        serving(most_each=4, refused=statuses.append) as (_, server),
        ExitStack() as stack,
        connected(server, "127.0.0.3") as other,
    ):
        for _ in range(12):
            made = stack.enter_context(connected(server, "127.0.0.2"))
            made.sendall(GET)
            assert was_answered(made)
        other.sendall(GET)
        assert was_answered(other)
    assert statuses == []


def test_a_trusted_proxy_stands_for_many_clients():
    with serving(trusted="127.0.0.2", most_each=4) as (_, server), ExitStack() as stack:
        held = [stack.enter_context(connected(server, "127.0.0.2")) for _ in range(12)]
        for connection in held:
            connection.sendall(GET)
            assert was_answered(connection)


class Held:
    """A connection as the room sees it."""

    def __init__(self, *, without_request):
        self.without_request, self.dropped = without_request, False

    def drop(self):
        self.dropped = True


def test_in_a_full_room_who_asks_for_something_takes_the_place_of_who_does_not():
    room = ConnectionLimits(most=3, most_each=3)
    busy, *idle = (Held(without_request=n > 0) for n in range(3))
    assert all(room.enter(one, "192.0.2.1") for one in (busy, *idle))
    assert room.enter(Held(without_request=False), "192.0.2.2")
    assert [one.dropped for one in (busy, *idle)] == [False, True, False]
    assert room.enter(Held(without_request=False), "192.0.2.3")
    assert not room.enter(Held(without_request=False), "192.0.2.4")
    room.leave(busy)
    assert room.enter(Held(without_request=False), "192.0.2.4")


def test_all_addresses_of_an_ipv6_network_have_one_budget():
    room = ConnectionLimits(most=100, most_each=2)
    addresses = ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:0:5::1")
    busy = [room.enter(Held(without_request=False), one) for one in addresses]
    assert busy == [True, True, False]
    assert room.enter(Held(without_request=False), "2001:db8:0:1::1")
