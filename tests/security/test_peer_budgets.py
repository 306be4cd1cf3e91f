"""One peer that takes all it can get keeps nobody else out.

The receiver runs alone as a process with a second one that receives, and the limits it has in
production. Peers come from addresses of their own in the loopback network. Not covered here:
the rules themselves (unit/shared/dicom/test_shares), peers behind a load balancer
(unit/shared/dicom/test_proxy_protocol), connections that ask for nothing
(unit/shared/dicom/test_budgets), queries (integration/scp/test_index_connections).
"""

import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.dicom.network import admission, message
from draw_shared.dicom.network.message import NO_DATA_SET, CommandElement, Operation
from draw_shared.dicom.network.pdu import COMMAND, PduType, fragments
from support import hostile
from support.datasets import build
from support.kept_config import keep_config
from support.raw_stores import raw_association
from support.receiver_process import ReceiverProcess
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.security]

GREEDY, HONEST, OTHER = "127.0.0.66", "127.0.0.2", "127.0.0.3"
LISTED = "CT_LISTED"
MOST = EVERYTHING.network.max_associations
"""Associations that one peer may have; a receiver has them out of the box."""


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    """A receiver with the limits of a new one, and a second process that receives."""
    made = ReceiverProcess(tmp_path_factory.mktemp("receiver"), DRAW_SCP_PROCESSES="2")
    made.configure()
    keep_config(made.root, EVERYTHING, version=2, listed=(AllowedPeer(LISTED),))
    made.start()
    made.start_second()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def calm(receiver):
    """Each test begins when nobody is connected any more."""
    assert wait_until(lambda: receiver.metric("draw_scp_open_connections") == 0, 60)


ECHO = message.encode(
    {
        CommandElement.AFFECTED_SOP_CLASS: "1.2.840.10008.1.1",
        CommandElement.COMMAND: Operation.C_ECHO,
        CommandElement.MESSAGE_ID: 1,
        CommandElement.DATA_SET_TYPE: NO_DATA_SET,
    }
)


def echo(connection):
    connection.sendall(b"".join(fragments(ECHO, 1, COMMAND, hostile.MAX_PDU)))
    kind, _ = hostile.read_pdu(connection)
    assert kind == PduType.P_DATA


@contextmanager
def echoing(port, number, source=GREEDY, title=lambda _: "EVIL"):
    """Hold so many associations that echo again and again until the block ends."""
    over = threading.Event()
    with ExitStack() as stack:
        held = [hostile.associated(port, title(n), source) for n in range(number)]
        for one in held:
            stack.enter_context(one)

        def go_on():
            while not over.wait(0.2):
                for one in held:
                    echo(one)

        thread = threading.Thread(target=go_on)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield held


def answer(port, title, source):
    """Return the answer to a request, and the connection."""
    connection = hostile.requested(port, title, source)
    return hostile.read_pdu(connection), connection


def refused(port, title, source):
    """Return result, source and reason of the rejection."""
    (kind, body), connection = answer(port, title, source)
    connection.close()
    assert kind == PduType.ASSOCIATE_RJ
    return tuple(body[1:])


def test_beside_a_peer_that_has_every_association_everybody_else_gets_one(receiver):
    port = receiver.port
    with echoing(port, MOST):
        assert refused(port, "EVIL", GREEDY) == (2, 3, 2)
        for n in range(20):
            for title, source in (("HONEST", HONEST), ("BEHIND_NAT", GREEDY), (LISTED, OTHER)):
                with hostile.associated(port, title, source) as connection:
                    echo(connection)
            with raw_association(port, build(), source=HONEST) as association:
                assert association.send(build()) == 0, n
    lines = receiver.lines("association.rejected")
    assert {line["reason"] for line in lines} == {admission.SHARE_EXCEEDED.words}
    assert {line["calling_ae"] for line in lines} == {"EVIL"}
    assert wait_until(lambda: receiver.metric("draw_scp_rejections_total") == len(lines), 60)


def test_associations_served_by_another_process_count_as_well(receiver):
    port = receiver.port
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(raw_association(port, build(), source=GREEDY))
        assert refused(port, "RAW", GREEDY) == (2, 3, 2)
        with raw_association(port, build(), source=HONEST) as association:
            assert association.send(build()) == 0


def test_titles_that_are_made_up_at_one_address_keep_no_other_address_out(receiver):
    port = receiver.port
    with echoing(port, MOST), ExitStack() as stack:
        got = 0
        while True:
            (kind, _), connection = answer(port, f"MADE_UP_{got}", GREEDY)
            stack.enter_context(connection)
            if kind == PduType.ASSOCIATE_RJ:
                break
            got += 1
        assert got < EVERYTHING.network.reserved_associations
        with hostile.associated(port, "HONEST", HONEST) as connection:
            echo(connection)
        with hostile.associated(port, LISTED, GREEDY) as connection:
            echo(connection)


def test_requests_that_wait_for_a_place_keep_nobody_out(receiver):
    port = receiver.port
    most = EVERYTHING.network.max_connections_per_address
    with echoing(port, MOST), ExitStack() as stack:
        # Each is a whole request, so that none has to give way while it waits.
        for source in (GREEDY, "127.0.0.67"):
            for _ in range(most):
                with suppress(OSError):
                    stack.enter_context(hostile.requested(port, "EVIL", source))
        with hostile.associated(port, "HONEST", HONEST) as connection:
            echo(connection)
