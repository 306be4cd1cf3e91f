"""Nodes that lie, crawl or keep silent when we call them: each ends in a named failure, soon.

Deadlines are shortened here; that the worker keeps its own is shown by
faults/test_hostile_nodes. Damaged bytes are in property/test_mutations.
"""

import contextlib
import threading
import time
import tracemalloc

import pytest

from draw_shared.dicom.encoding.uids import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    STUDY_ROOT_FIND,
    VERIFICATION,
)
from draw_shared.dicom.network import message_reader, requestor, wire
from draw_shared.dicom.network.contexts import contexts_for, number_contexts
from draw_shared.dicom.network.message import Operation
from draw_shared.dicom.network.pdu import LAST, RELEASE_RP, RELEASE_RQ, AbortSource, PduType, abort
from draw_shared.dicom.network.peer_failures import (
    NotSupported,
    PeerAborted,
    PeerBrokeProtocol,
    PeerTimeout,
    PeerTrouble,
    PeerTurnedAway,
)
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from support import lying_nodes
from support.hostile import read_pdu
from support.lying_nodes import SCRIPTS, acceptance, asked, lying, pdata, wait_for_end

pytestmark = pytest.mark.security

TIMEOUT_SECONDS = 0.6
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
FIND = number_contexts([(STUDY_ROOT_FIND, (IMPLICIT_LITTLE,)), (VERIFICATION, (IMPLICIT_LITTLE,))])
CT = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    monkeypatch.setattr(message_reader, "PDU_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(wire, "PDU_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(requestor, "RELEASE_TIMEOUT_SECONDS", 0.5)


def remote(port):
    return Remote("127.0.0.1", port, "LIAR", "DRAW", TIMEOUT_SECONDS)


def query(port, between=None):
    """Ask a C-FIND, and take whatever is answered."""
    with open_association(remote(port), FIND, between=between) as made:
        request = made.request(
            Operation.C_FIND, made.context(STUDY_ROOT_FIND), identifier=b"\x08\0\x52\0\0\0\0\0"
        )
        while made.response(request).status == lying_nodes.PENDING:
            pass


def query_in_slices(port):
    """Ask the same with a hook, for which each wait is cut into short ones."""
    query(port, lambda: None)


def send(port):
    """Send objects ahead of their answers."""
    objects = [Outgoing(bytes(1000), CT_CLASS, f"1.2.{n}", EXPLICIT_LITTLE) for n in range(3)]
    with open_sender(remote(port), CT) as made:
        for _ in made.store(objects):
            pass


@pytest.mark.parametrize("ask", [query, query_in_slices, send])
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_lie_ends_in_a_named_failure_in_time_and_memory(name, ask):
    script, words = SCRIPTS[name]
    threads = threading.active_count()
    with lying(script) as port:
        tracemalloc.start()
        began = time.monotonic()
        with pytest.raises(PeerTrouble, match=words):
            ask(port)
        lasted = time.monotonic() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert lasted < 4
    # An identifier is kept until it is too long, once as it grows; nothing else is.
    assert peak < 3 * requestor.MAX_ANSWER_IDENTIFIER_BYTES
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads, "the node was not cut off"


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("keeps silent", PeerTimeout),
        ("accepts and crawls", PeerTimeout),
        ("sends an identifier in crumbs", PeerTimeout),
        ("hangs up", PeerTurnedAway),
        ("aborts", PeerTurnedAway),
        ("aborts in the middle", PeerTurnedAway),
        ("releases in the middle", PeerAborted),
        ("speaks HTTP", PeerBrokeProtocol),
        ("answers another request", PeerBrokeProtocol),
    ],
)
def test_the_failure_says_what_is_worth_another_try(name, failure):
    with lying(SCRIPTS[name][0]) as port, pytest.raises(PeerTrouble) as caught:
        query(port)
    assert type(caught.value) is failure


def test_who_aborts_after_an_answer_has_not_turned_us_away():
    def answers_and_aborts(connection, request):
        connection.sendall(acceptance(request))
        pending = lying_nodes.pending(*asked(connection)) + pdata(b"", LAST)
        connection.sendall(pending + abort(AbortSource.SERVICE_USER))
        wait_for_end(connection)

    with lying(answers_and_aborts) as port, pytest.raises(PeerAborted) as caught:
        query(port)
    assert type(caught.value) is PeerAborted


@pytest.mark.parametrize(
    "results",
    [
        [],
        [(1, 3, IMPLICIT_LITTLE), (3, 4, IMPLICIT_LITTLE)],
        [(5, 0, IMPLICIT_LITTLE), (255, 0, IMPLICIT_LITTLE), (0, 0, IMPLICIT_LITTLE)],
        [(1, 0, EXPLICIT_BIG), (3, 0, "1.2.840.10008.1.2.5")],
        [(1, 0, ""), (3, 0, "1" * 64)],
    ],
)
def test_what_was_not_proposed_cannot_be_accepted(results):
    with lying(lying_nodes.accepting(results=results)) as port:
        with open_association(remote(port), FIND) as made:
            assert made.contexts == {}
            with pytest.raises(NotSupported):
                made.echo()
        with open_sender(remote(port), CT) as made:
            outgoing = Outgoing(b"x", CT_CLASS, "1.2", EXPLICIT_LITTLE)
            statuses = [one.status for one in made.store([outgoing])]
        assert statuses == [None]


def test_answers_in_a_context_that_was_proposed_and_refused_are_none():
    def script(connection, request):
        connection.sendall(acceptance(request, results=[(1, 0, IMPLICIT_LITTLE)]))
        _, operation, message_id = asked(connection)
        connection.sendall(
            lying_nodes.command(operation | 0x8000, message_id=message_id, context_id=3)
        )
        wait_for_end(connection)

    with lying(script) as port, pytest.raises(PeerBrokeProtocol, match="was not accepted"):
        query(port)


def test_a_node_that_does_not_read_is_cut_off():
    def script(connection, request):
        connection.sendall(acceptance(request))
        time.sleep(10 * TIMEOUT_SECONDS)

    large = Outgoing(bytes(64 * 1024 * 1024), CT_CLASS, "1.2.3", EXPLICIT_LITTLE)
    with lying(script) as port:
        began = time.monotonic()
        with (
            pytest.raises(PeerTimeout, match="does not read"),
            open_sender(remote(port), CT) as made,
        ):
            list(made.store([large]))
        assert time.monotonic() - began < 4


def test_the_hook_ends_a_wait_for_a_silent_node_soon():
    class Enough(Exception):
        pass

    began = time.monotonic()

    def hook():
        if time.monotonic() - began > 0.3:
            raise Enough

    with lying(lying_nodes.accepting()) as port:
        silent = Remote("127.0.0.1", port, "LIAR", "DRAW", 60.0)
        with pytest.raises(Enough), open_association(silent, FIND, between=hook) as made:
            made.echo()
    assert time.monotonic() - began < 2


def test_other_evidence_of_life_keeps_a_silent_node_and_its_end_does_not():
    began = time.monotonic()
    with lying(lying_nodes.accepting()) as port, open_association(remote(port), FIND) as made:

        def hook():
            if time.monotonic() - began < 3 * TIMEOUT_SECONDS:
                made.still_alive()

        made.between = hook
        with pytest.raises(PeerTimeout):
            made.echo()
    assert 3 * TIMEOUT_SECONDS < time.monotonic() - began < 10 * TIMEOUT_SECONDS


def test_an_interrupt_of_another_thread_ends_a_wait():
    with lying(lying_nodes.accepting()) as port:
        silent = Remote("127.0.0.1", port, "LIAR", "DRAW", 60.0)
        with open_association(silent, FIND) as made:
            began = time.monotonic()
            threading.Timer(0.2, made.interrupt).start()
            with pytest.raises(PeerAborted):
                made.echo()
    assert time.monotonic() - began < 5


def release_collides(connection, seen):
    """Ask for release when asked, and answer it once ours is answered (PS3.8 7.2.2.7)."""
    seen.append(read_pdu(connection)[0])
    connection.sendall(RELEASE_RQ)
    seen.append(read_pdu(connection)[0])
    connection.sendall(RELEASE_RP)
    seen.append(connection.recv(1))


def release_is_flooded(connection, seen):
    seen.append(read_pdu(connection)[0])
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(pdata(bytes(4096), 0))
    seen.append(b"")


def release_is_ignored(connection, seen):
    seen.append(read_pdu(connection)[0])
    seen.append(connection.recv(1))


def release_is_answered_byte_by_byte(connection, seen):
    seen.append(read_pdu(connection)[0])
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(RELEASE_RP[:1] if len(seen) == 1 else b"\0")
            seen.append(0)
            time.sleep(0.1)
    seen.append(b"")


def release_is_answered_with_garbage(connection, seen):
    seen.append(read_pdu(connection)[0])
    connection.sendall(b"\xff" * 100)
    wait_for_end(connection)
    seen.append(b"")


@pytest.mark.parametrize(
    "ending",
    [
        release_collides, release_is_flooded, release_is_ignored,
        release_is_answered_byte_by_byte, release_is_answered_with_garbage,
    ],
)  # fmt: skip
def test_a_release_ends_whatever_the_node_makes_of_it(ending):
    seen, over = [], threading.Event()

    def script(connection, request):
        connection.sendall(acceptance(request))
        ending(connection, seen)
        over.set()

    with lying(script) as port:
        made = open_association(remote(port), FIND)
        began = time.monotonic()
        made.release()
        assert time.monotonic() - began < 3
        assert over.wait(10)
    assert seen[0] == PduType.RELEASE_RQ
    assert seen[-1] == b"", "the connection is closed"
    if ending is release_collides:
        assert seen[1] == PduType.RELEASE_RP
