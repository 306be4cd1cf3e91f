"""Peers that are slow, silent or lying cannot take the receiver from others.

Deadlines are shortened here where only their kind matters; that silent peers are closed at the
real ones is shown by faults/test_hostile_peers.
"""

import socket
import struct
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest

from draw_shared.contracts.server_config import EVERYTHING, SecurityConfig
from draw_shared.dicom.encoding.uids import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    STUDY_ROOT_FIND,
    VERIFICATION,
)
from draw_shared.dicom.network import acceptor as acceptor_module
from draw_shared.dicom.network import admission, message, message_reader
from draw_shared.dicom.network.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.network.limits import AcceptorLimits, AssociationLimits
from draw_shared.dicom.network.message import CommandElement, Operation
from draw_shared.dicom.network.pdu import COMMAND, fragments
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.service import AssociationOutcome
from draw_shared.errors import DrawError
from support.engine import RecordingProvider, engine_threads, listening
from support.waiting import wait_until

pytestmark = pytest.mark.security

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = (
    ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),
    ProposedContext(3, CT_CLASS, (EXPLICIT_LITTLE,)),
    ProposedContext(5, STUDY_ROOT_FIND, (IMPLICIT_LITTLE,)),
)
ABORT = 7


def connected(acceptor):
    made = socket.create_connection(("127.0.0.1", acceptor.port), 10)
    made.settimeout(20)
    return made


def read_pdu(made):
    head = exactly(made, 6)
    return head[0], exactly(made, int.from_bytes(head[2:], "big"))


def exactly(made, size):
    raw = b""
    while len(raw) < size:
        part = made.recv(size - len(raw))
        if not part:
            raise ConnectionError("closed")
        raw += part
    return raw


def associated(acceptor, max_pdu=16384, **user):
    made = connected(acceptor)
    told = UserInformation(max_pdu, "1.2", **user)
    request = AssociateRequest("EVIL", "DRAW_SCP", CONTEXTS, told)
    made.sendall(request.encode())
    assert read_pdu(made)[0] == 2
    return made


def command(operation, context_id, data_set=False, message_id=1):
    classes = {context.context_id: context.abstract_syntax for context in CONTEXTS}
    raw = message.encode(
        {
            CommandElement.AFFECTED_SOP_CLASS: classes[context_id],
            CommandElement.COMMAND: operation,
            CommandElement.MESSAGE_ID: message_id,
            CommandElement.DATA_SET_TYPE: 1 if data_set else 0x0101,
            CommandElement.AFFECTED_SOP_INSTANCE: "1.2.3",
        }
    )
    return b"".join(fragments(raw, context_id, COMMAND, 16384))


def assert_aborted(made, reason):
    kind, body = read_pdu(made)
    assert kind == ABORT
    assert (body[2], body[3]) == (2, reason)
    assert made.recv(10) == b""


def seconds_until_closed(made):
    began = time.monotonic()
    try:
        while made.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (struct.pack(">BxI", 4, 0xFFFFFFFF), 6),
        (struct.pack(">BxI", 4, 16384 + 1025), 6),
        (struct.pack(">BxI", 9, 4), 1),
        (struct.pack(">BxI", 1, 0), 2),
        (struct.pack(">BxI", 5, 5), 6),
        (struct.pack(">BxIIBB", 4, 6, 0xFFFFFFF0, 1, 3), 6),
        (struct.pack(">BxIIBB", 4, 6, 1, 1, 3), 6),
        (struct.pack(">BxIIBB", 4, 6, 2, 1, 2), 5),
        (struct.pack(">BxIIBB", 4, 6, 2, 9, 3), 6),
        (command(0x8030, 1), 6),
    ],
)
def test_a_broken_pdu_aborts_with_its_reason(raw, reason):
    with listening() as (acceptor, provider):
        made = associated(acceptor)
        made.sendall(raw)
        assert_aborted(made, reason)
        made.close()
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.ABORTED


def test_an_endless_command_set_is_cut_off():
    with listening() as (acceptor, _):
        made = associated(acceptor)
        piece = struct.pack(">BxIIBB", 4, 6 + 4096, 2 + 4096, 1, COMMAND) + bytes(4096)
        made.sendall(piece * 5)
        assert_aborted(made, 6)
        made.close()


def test_an_object_above_the_limit_is_cut_off_and_forgotten():
    limits = AcceptorLimits(association=AssociationLimits(max_object_bytes=100_000))
    with listening(limits=limits) as (acceptor, provider):
        made = associated(acceptor)
        made.sendall(command(Operation.C_STORE, 3, data_set=True))
        made.sendall(b"".join(fragments(bytes(110_000), 3, 0, 16384)))
        assert_aborted(made, 6)
        made.close()
        assert provider.abandoned == 1
        assert not provider.stored


@pytest.mark.parametrize("max_pdu", [1, 6, 7, 100])
def test_a_peer_that_takes_next_to_nothing_is_not_served(max_pdu):
    with listening() as (acceptor, _):
        made = connected(acceptor)
        request = AssociateRequest("E", "D", CONTEXTS, UserInformation(max_pdu, "1.2"))
        made.sendall(request.encode())
        assert_aborted(made, 6)
        made.close()


def test_unknown_operations_are_answered():
    with listening() as (acceptor, _):
        made = associated(acceptor)
        made.sendall(command(0x0130, 1))
        kind, body = read_pdu(made)
        assert kind == 4
        assert message.decode(body[6:]).number(CommandElement.STATUS) == 0x0211
        made.close()


def test_requests_sent_ahead_of_a_query_are_answered_in_order():
    provider = RecordingProvider()
    provider.matches = [b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY "] * 2
    provider.gate = lambda cancelled: cancelled() or True
    with listening(provider) as (acceptor, _):
        made = associated(acceptor, asynchronous=(4, 1))
        find = command(Operation.C_FIND, 5, data_set=True)
        identifier = b"".join(fragments(provider.matches[0], 5, 0, 16384))
        made.sendall(find + identifier + b"".join(command(0x30, 1, message_id=i) for i in (2, 3)))
        answered = []
        while len(answered) < 5:
            _, body = read_pdu(made)
            if body[5] & COMMAND:
                answered.append(
                    message.decode(body[6:]).number(CommandElement.RESPONDED_MESSAGE_ID)
                )
        made.close()
    assert answered == [1, 1, 1, 2, 3]


def test_control_characters_in_titles_do_not_reach_the_log():
    with listening() as (acceptor, provider):
        made = connected(acceptor)
        raw = AssociateRequest("A\n\x1bB", "D", CONTEXTS, UserInformation(0, "1.2")).encode()
        made.sendall(raw)
        assert read_pdu(made)[0] == 2
        made.close()
        assert provider.infos[0].calling_ae == "A??B"


def drip(made, stop):
    raw = AssociateRequest("SLOW", "D", CONTEXTS, UserInformation(0, "1.2")).encode()
    for one in raw:
        if stop.wait(0.05):
            return
        try:
            made.send(bytes((one,)))
        except OSError:
            return


def test_slow_and_silent_requests_share_one_deadline(monkeypatch):
    monkeypatch.setattr(acceptor_module, "SETUP_TIMEOUT_SECONDS", 0.5)
    stop = threading.Event()
    with listening() as (acceptor, _):
        slow, silent = connected(acceptor), connected(acceptor)
        thread = threading.Thread(target=drip, args=(slow, stop))
        thread.start()
        assert seconds_until_closed(silent) < 3
        assert seconds_until_closed(slow) < 3
        stop.set()
        thread.join()
        slow.close()
        silent.close()


def crumble(made, crumb):
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - began < 5:
            made.sendall(crumb)
            time.sleep(0.05)
    assert time.monotonic() - began < 4


def test_a_command_set_in_crumbs_is_timed_out(monkeypatch):
    monkeypatch.setattr(message_reader, "PDU_TIMEOUT_SECONDS", 0.4)
    with listening() as (acceptor, provider):
        made = associated(acceptor)
        crumb = struct.pack(">BxIIBBB", 4, 7, 3, 1, COMMAND, 0)
        crumble(made, crumb)
        made.close()
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.TIMED_OUT


def test_a_data_set_in_crumbs_is_timed_out(monkeypatch):
    monkeypatch.setattr(message_reader, "PDU_TIMEOUT_SECONDS", 0.4)
    with listening() as (acceptor, provider):
        made = associated(acceptor)
        made.sendall(command(Operation.C_STORE, 3, data_set=True))
        crumb = struct.pack(">BxIIBBB", 4, 7, 3, 3, 0, 0)
        crumble(made, crumb)
        made.close()
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.TIMED_OUT
        assert provider.abandoned == 1


def test_memory_does_not_grow_with_an_object():
    provider = RecordingProvider()
    provider.keep = False
    piece = struct.pack(">BxIIBB", 4, 16384, 16380, 3, 0) + bytes(16378)
    with listening(provider) as (acceptor, _):
        made = associated(acceptor)
        made.sendall(command(Operation.C_STORE, 3, data_set=True))
        tracemalloc.start()
        for _ in range(2000):
            made.sendall(piece)
        made.sendall(struct.pack(">BxIIBB", 4, 6, 2, 3, 2))
        assert read_pdu(made)[0] == 4
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        made.close()
    assert provider.seen_bytes == 2000 * 16378
    assert peak < 2 * 1024 * 1024


COME_AGAIN = (3, bytes((0, 2, 3, 1)))


def test_who_has_not_asked_makes_room_for_who_comes_and_is_told_to_come_again():
    limits = AcceptorLimits(max_connections=10)
    with listening(limits=limits) as (acceptor, provider):
        served = associated(acceptor)
        silent = [connected(acceptor) for _ in range(9)]
        crowd = [connected(acceptor) for _ in range(100)]
        for one in (silent + crowd)[:100]:
            assert read_pdu(one) == COME_AGAIN
        assert wait_until(lambda: acceptor.connections == 10)
        # Who gave way is counted no more at once; its thread ends when it gets to run.
        assert wait_until(lambda: len(engine_threads()) <= 13)
        echo_seconds(acceptor)
        served.sendall(command(Operation.C_ECHO, 1))
        assert read_pdu(served)[0] == 4
        assert {reject.words for reject in provider.rejections} == {admission.GAVE_WAY.words}
        for one in [served, *silent, *crowd]:
            one.close()
        assert wait_until(lambda: acceptor.connections == 0)


def test_associations_give_way_to_nobody():
    limits = AcceptorLimits(max_connections=10)
    with listening(limits=limits) as (acceptor, _):
        served = [associated(acceptor) for _ in range(10)]
        refused = connected(acceptor)
        assert read_pdu(refused) == COME_AGAIN
        for one in served:
            one.sendall(command(Operation.C_ECHO, 1))
            assert read_pdu(one)[0] == 4
        for one in [*served, refused]:
            one.close()


def test_a_rejected_peer_that_stays_makes_room():
    strict = EVERYTHING.model_copy(update={"security": SecurityConfig(check_called_ae=True)})
    provider, limits = RecordingProvider(strict), AcceptorLimits(max_connections_per_address=3)
    request = AssociateRequest("E", "OTHER", CONTEXTS, UserInformation(0, "1.2")).encode()
    with listening(provider, limits) as (acceptor, _):
        staying = [connected(acceptor) for _ in range(3)]
        for one in staying:
            one.sendall(request)
            assert read_pdu(one)[0] == 3
        served = associated(acceptor)
        for one in [*staying, served]:
            one.close()


def test_a_burst_that_asks_at_once_is_served_beside_silent_peers():
    failed = []

    def ask(acceptor, together):
        together.wait(20)
        try:
            echo_seconds(acceptor)
        except (DrawError, OSError) as error:
            failed.append(repr(error))

    with listening() as (acceptor, _):
        silent = [connected(acceptor) for _ in range(250)]
        together = threading.Barrier(200)
        asking = [threading.Thread(target=ask, args=(acceptor, together)) for _ in range(200)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        for one in silent:
            one.close()
    assert failed == []


def echo_seconds(acceptor):
    began = time.monotonic()
    remote = Remote("127.0.0.1", acceptor.port, "D", "E", 10.0)
    with open_association(remote, CONTEXTS[:1]) as made:
        assert made.echo() == 0
    return time.monotonic() - began


def test_250_hostile_peers_of_the_same_address_do_not_delay_an_echo():
    stop = threading.Event()

    def trickle(peers):
        while not stop.wait(0.1):
            for peer in peers:
                with suppress(OSError):
                    peer.send(b"\x01")

    with listening() as (acceptor, _):
        silent = [connected(acceptor) for _ in range(200)]
        slow = [connected(acceptor) for _ in range(50)]
        thread = threading.Thread(target=trickle, args=(slow,))
        thread.start()
        times = sorted(echo_seconds(acceptor) for _ in range(40))
        assert times[37] < 1
        stop.set()
        thread.join()
        for peer in silent + slow:
            peer.close()
