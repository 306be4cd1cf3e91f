"""Nodes that lie, crawl or keep silent when the worker calls them cost it neither memory nor time.

The deadlines are those of production; every kind of lie, and who is told what, is in
unit/shared/dicom/test_hostile_answers and unit/qr_worker/test_getting.
"""

import multiprocessing
import threading
import time
from contextlib import ExitStack

import pytest

from draw_shared.dicom.network.message import RESPONSE
from draw_shared.dicom.network.pdu import LAST
from draw_shared.dicom.network.peer_failures import PeerTimeout
from draw_shared.dicom.network.wire import PDU_TIMEOUT_SECONDS
from support import asking, hostile, lying_nodes
from support.asking import CT, STORAGE_CONTEXT
from support.lying_nodes import SCRIPTS, acceptance, asked, command, lying, pdata, store_request

pytestmark = [pytest.mark.e2e, pytest.mark.fault, pytest.mark.security]

MAX_GROWTH_MIB = 64
LARGE_BYTES = 300_000_000
LIES = (
    "claims 4 GiB",
    "claims 4 GiB of acceptance",
    "claims 4 GiB in an item",
    "claims 4 GiB in an element",
    "sends a command without end",
    "sends an identifier without end",
)
SLOW = {
    "keeps silent": 5,
    "accepts and keeps silent": 5,
    "crawls while it accepts": 5,
    "accepts and crawls": 5,
    "sends a command in crumbs": PDU_TIMEOUT_SECONDS,
    "sends an identifier in crumbs": PDU_TIMEOUT_SECONDS,
}
"""How long each may take, in seconds: the node's own timeout, or that for progress."""
GRACE_SECONDS = 20
"""For a machine that is busy: what is not given up lasts for ever."""


def sends_a_large_object(connection, request):
    """Answer C-GET with one object of 300 MB, then with success."""
    connection.sendall(acceptance(request))
    context_id, operation, message_id = asked(connection)
    connection.sendall(store_request(CT, "1.2.3", STORAGE_CONTEXT))
    piece = pdata(bytes(16378), 0, STORAGE_CONTEXT) * 64
    for _ in range(LARGE_BYTES // len(piece)):
        connection.sendall(piece)
    connection.sendall(pdata(b"", LAST, STORAGE_CONTEXT))
    hostile.read_pdu(connection)
    connection.sendall(command(operation | RESPONSE, message_id=message_id, context_id=context_id))
    lying_nodes.wait_for_end(connection)


def test_memory_does_not_grow_with_what_nodes_claim_or_send():
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with ExitStack() as nodes:
        ports = [nodes.enter_context(lying(SCRIPTS[name][0])) for name in LIES]
        large = nodes.enter_context(lying(sends_a_large_object))
        process = context.Process(
            target=asking.ask_again_and_again, args=(ports, large, results), daemon=True
        )
        process.start()
        assert results.get(timeout=60) == "begun"
        with hostile.Memory([process.pid]) as memory:
            size, failures = results.get(timeout=200)
        process.join(30)
    print(f"RSS grew by {memory.growth_mib:.1f} MiB in {len(failures)} calls")
    assert size > 0.99 * LARGE_BYTES
    assert set(failures) == {"PeerBrokeProtocol"}
    assert len(failures) > 4 * len(LIES)
    assert memory.growth_mib < MAX_GROWTH_MIB


def test_slow_nodes_are_given_up_at_their_deadlines():
    lasted = {}

    def call(name):
        with lying(SCRIPTS[name][0]) as port:
            began = time.monotonic()
            with pytest.raises(PeerTimeout):
                asking.find(port)
            lasted[name] = time.monotonic() - began

    threads = [threading.Thread(target=call, args=(name,)) for name in SLOW]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    print({name: round(seconds, 1) for name, seconds in lasted.items()})
    assert lasted.keys() == SLOW.keys()
    late = {
        name: seconds for name, seconds in lasted.items() if seconds > SLOW[name] + GRACE_SECONDS
    }
    assert late == {}
