"""Thousands of damaged sessions on both sides: no crash, no hang, nothing left open.

Each case takes what a real client once sent (`sessions/`, recorded by `support.recorded`),
damages its A-ASSOCIATE-RQ, its P-DATA or its command sets, and lets the engine and the
receiver's own provider serve it, storage included. Or it takes what a node answers to what the
worker asks, damages that, and lets the worker ask. Not covered here: damaged input over TLS,
and time (test_hostile_peers, test_hostile_nodes).
"""

import random
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from draw_qr_worker.models import StatusPermanent, StatusTransient
from draw_scp.app import Scp
from draw_scp.settings import ScpSettings
from draw_shared.dicom.network import associate, message
from draw_shared.dicom.network.association import AcceptorAssociation
from draw_shared.dicom.network.contexts import contexts_for
from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.pdu import HEADER, PduType, pdvs
from draw_shared.dicom.network.peer_failures import (
    NotSupported,
    PeerCongested,
    PeerRejected,
    PeerTrouble,
)
from draw_shared.dicom.network.requestor import Remote
from draw_shared.dicom.network.service import Peer
from draw_shared.dicom.network.store_sender import open_sender
from draw_shared.dicom.network.wire import Wire
from support import asking
from support.datasets import series
from support.engine import listening
from support.faulty_peer import AE, outgoing_of, peer
from support.kept_config import keep_config
from support.recorded import Tap, sessions
from support.waiting import wait_until

pytestmark = [pytest.mark.property, pytest.mark.security]

CASES = 10_000
ANSWER_CASES = 1500
PARTS = 5
SLOWEST_SECONDS = 3.0
ODD_BYTES = (0x00, 0x01, 0x02, 0x03, 0x7F, 0x80, 0xFE, 0xFF)
ODD_LENGTHS = (0, 1, 0x7FFF, 0xFFFF, 0x10000, 131_072, 131_079, 0x7FFFFFFF, 0xFFFFFFFF)
LIMITS = AssociationLimits(
    acse_timeout_seconds=5,
    dimse_timeout_seconds=5,
    network_timeout_seconds=5,
    max_object_bytes=1 << 20,
)


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """The receiver's own provider on a real volume, with neither database nor broker."""
    volume = tmp_path_factory.mktemp("volume")
    keep_config(volume)
    app = Scp(
        ScpSettings(
            replica="one",
            storage_root=volume,
            database_url="postgresql://nobody@127.0.0.1:1/none",
            broker_url="amqp://127.0.0.1:1/x",
            scp_loopback_reads=True,
        )
    )
    app._objects.start()
    yield app._listener._provider
    app._objects.stop(1)


def pdus(stream):
    """Return where each whole PDU of a stream begins and ends."""
    found, at = [], 0
    while at + HEADER.size <= len(stream):
        _, length = HEADER.unpack_from(stream, at)
        found.append((at, min(at + HEADER.size + length, len(stream))))
        at += HEADER.size + length
    return found


def flipped(chance, stream, begin, end):
    for _ in range(chance.randint(1, 8)):
        stream[chance.randrange(begin, end)] ^= 1 << chance.randrange(8)


def odd_bytes(chance, stream, begin, end):
    for _ in range(chance.randint(1, 4)):
        stream[chance.randrange(begin, end)] = chance.choice(ODD_BYTES)


def odd_length(chance, stream, begin, end):
    size = chance.choice((2, 4))
    raw = (chance.choice(ODD_LENGTHS) & (256**size - 1)).to_bytes(
        size, chance.choice(("big", "little"))
    )
    at = chance.randrange(begin, end)
    stream[at : at + size] = raw


def pdu_length(chance, stream, begin, end):
    stream[begin + 2 : begin + 6] = chance.choice(ODD_LENGTHS).to_bytes(4, "big")


def cut_out(chance, stream, begin, end):
    at = chance.randrange(begin, end)
    del stream[at : at + chance.randint(1, 64)]


def cut_short(chance, stream, begin, end):
    del stream[chance.randrange(begin, end) :]


def repeated(chance, stream, begin, end):
    stream[end:end] = bytes(stream[begin:end]) * chance.randint(1, 4)


def filled_in(chance, stream, begin, end):
    at = chance.randrange(begin, end)
    stream[at:at] = chance.randbytes(chance.randint(1, 64))


def doubled_inside(chance, stream, begin, end):
    first = chance.randrange(begin, end)
    piece = stream[first : first + chance.randint(1, 128)]
    stream[first:first] = piece


def exchanged(chance, stream, begin, end):
    other = chance.choice(pdus(stream))
    piece = bytes(stream[begin:end])
    del stream[begin:end]
    at = min(other[0], len(stream))
    stream[at:at] = piece


DAMAGES = (
    flipped, odd_bytes, odd_length, pdu_length, cut_out, cut_short, repeated, filled_in,
    doubled_inside, exchanged,
)  # fmt: skip


def damaged(chance, seeds):
    """Return one damaged session; half of the damage is in the first bytes of a PDU or message."""
    stream = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = pdus(stream)
        if not places:
            break
        begin, end = chance.choice(places)
        if chance.random() < 0.5:
            # Headers, items and command sets lie here; data sets behind it.
            end = min(end, begin + 160)
        chance.choice(DAMAGES)(chance, stream, begin, end)
    if chance.random() < 0.1:
        stream += chance.choice(seeds)
    return bytes(stream)


def served(stream, provider):
    """Let the engine serve one stream, and return what it answered."""
    client, server = socket.socketpair()
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.sendall(stream)
        client.shutdown(socket.SHUT_WR)
        peer = Peer("fuzz", "127.0.0.1", "127.0.0.1")
        AcceptorAssociation(Wire(server), peer, provider, LIMITS).serve(provider, lambda _: None)
        server.close()
        answer = b""
        # Closed with input unread, the socket says so once, before it gives the answer.
        for _ in range(2):
            with suppress(ConnectionResetError):
                while part := client.recv(65536):
                    answer += part
    return answer


def check_answer(answer):
    """Fail unless an answer is a sequence of whole, known PDUs with whole command sets."""
    at = 0
    while at < len(answer):
        kind, length = HEADER.unpack_from(answer, at)
        body = memoryview(answer)[at + HEADER.size : at + HEADER.size + length]
        assert len(body) == length
        if kind == PduType.P_DATA:
            for _, control, part in pdvs(body):
                if control & 1:
                    message.decode(bytes(part))
        elif kind == PduType.ASSOCIATE_AC:
            associate.decode_accept(bytes(body))
        else:
            PduType(kind)
        at += HEADER.size + length


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_undamaged_sessions_are_served_to_their_end(provider):
    for name, stream in sessions().items():
        with capture_logs() as lines:
            answer = served(stream, provider)
        check_answer(answer)
        assert answer[0] == PduType.ASSOCIATE_AC, name
        assert answer[-10] == PduType.RELEASE_RP, name
        refused = [line for line in lines if line["log_level"] in {"warning", "error"}]
        assert [line["event"] for line in refused if line["event"] == "store.refused"] == [], name


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_sessions_neither_crash_nor_hang_nor_leak(provider, part):
    seeds = list(sessions().values())
    served(seeds[0], provider)
    accepted = data = 0
    threads, descriptors = threading.active_count(), open_descriptors()
    for number in range(part, CASES, PARTS):
        stream = damaged(random.Random(number), seeds)
        began = time.monotonic()
        with capture_logs() as lines:
            answer = served(stream, provider)
        failures = [line for line in lines if "failed" in line["event"] or "exc_info" in line]
        assert not failures, (number, failures)
        assert time.monotonic() - began < SLOWEST_SECONDS, number
        check_answer(answer)
        accepted += answer[:1] == bytes((PduType.ASSOCIATE_AC,))
        data += bytes((PduType.P_DATA, 0, 0, 0)) in answer
    # Damage that never got behind the first PDU would prove little.
    assert accepted > CASES // PARTS // 2
    assert data > CASES // PARTS // 5
    assert threading.active_count() <= threads
    assert open_descriptors() <= descriptors


class Replay:
    """A port that says the same to every caller, whatever it asks, and keeps what is asked."""

    def __init__(self):
        self.stream = b""
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self.heard = b""
                    connection.sendall(self.stream)
                    connection.shutdown(socket.SHUT_WR)
                    while part := connection.recv(65536):
                        self.heard += part

    def end(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


OBJECTS = series(3, size_bytes=500)
STUDY = str(OBJECTS[0].StudyInstanceUID)


def send(port):
    outgoing = [outgoing_of(one) for one in OBJECTS]
    kinds = [(one.sop_class_uid, one.transfer_syntax_uid) for one in outgoing]
    with open_sender(Remote("127.0.0.1", port, AE, "DRAW", 5.0), contexts_for(kinds)) as sender:
        list(sender.store(outgoing))


ASKING = {
    "echo": asking.echo,
    "probe": asking.probe,
    "find": lambda port: asking.find(port, STUDY),
    "move": lambda port: asking.move(port, STUDY),
    "get": lambda port: asking.get(port, STUDY, max_object_bytes=1 << 20),
    "send": send,
}
NAMED = (PeerTrouble, PeerRejected, PeerCongested, NotSupported, StatusPermanent, StatusTransient)


@pytest.fixture(scope="module")
def answers():
    """What an honest node answers to each that we ask."""
    found = {}
    with listening() as (destination, _), peer(OBJECTS, destination.port) as (_, port):
        for name, ask in ASKING.items():
            tap = Tap(port)
            ask(tap.port)
            tap.end()
            found[name] = tap.said
    return found


@pytest.fixture
def replay():
    made = Replay()
    yield made
    made.end()


@pytest.mark.parametrize("name", ASKING)
def test_undamaged_answers_are_taken_to_their_end(answers, replay, name):
    replay.stream = answers[name]
    ASKING[name](replay.port)


@pytest.mark.parametrize("name", ASKING)
def test_damaged_answers_end_in_a_named_failure_and_leave_nothing(answers, replay, name):
    accepted = failed = 0
    threads, descriptors = threading.active_count(), open_descriptors()
    for number in range(ANSWER_CASES):
        replay.stream = damaged(random.Random(f"{name} {number}"), [answers[name]])
        began = time.monotonic()
        try:
            ASKING[name](replay.port)
        except NAMED:
            failed += 1
        assert time.monotonic() - began < SLOWEST_SECONDS, number
        accepted += bytes((PduType.P_DATA, 0, 0, 0)) in replay.heard
    # Damage that never got behind the acceptance would prove little; a probe asks no more.
    assert accepted > ANSWER_CASES // 3 or name == "probe"
    assert failed > ANSWER_CASES // 10
    assert threading.active_count() <= threads
    assert wait_until(lambda: open_descriptors() <= descriptors)
