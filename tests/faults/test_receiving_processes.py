"""Two processes receive for one receiver: what the peers, the disk and the counters see of it.

Not covered here: what a receiver alone does with the same input (test_receiver).
"""

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    Verification,
)

from draw_shared.dicom.network.wire import PeerClosed
from support.datasets import build, encoded_data_set, series
from support.raw_stores import raw_association, rejection
from support.receiver_process import ReceiverProcess
from support.receptions import encoded
from support.waiting import wait_until
from tools.processes import alive

pytestmark = pytest.mark.fault

GRACE_SECONDS = 10


@contextmanager
def started(folder):
    receiver = ReceiverProcess(folder, DRAW_SCP_PROCESSES="2", DRAW_STOP_SECONDS=f"{GRACE_SECONDS}")
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@pytest.fixture
def receiver(tmp_path):
    with started(tmp_path) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """A receiver that no test stops or kills; the first one sees it with one process."""
    with started(tmp_path_factory.mktemp("lasting")) as receiver:
        yield receiver


def sockets(pid):
    """Return how many sockets a process holds."""
    held = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            held += str(entry.readlink()).startswith("socket:")
    return held


def released(receiver):
    lines = receiver.lines("association.closed")
    return [line for line in lines if line["outcome"] == "released"]


def test_one_sender_needs_no_second_process(lasting):
    for made in (build(), build()):
        with raw_association(lasting.port, made) as raw:
            assert raw.send(made) == 0
            raw.release()
    time.sleep(1.5)
    assert lasting.receiving_pids == []
    assert lasting.metric("draw_scp_receiving_processes") == 1


@pytest.fixture(scope="module")
def second_pid(lasting):
    """The lasting receiver's second process."""
    return lasting.start_second()


def test_associations_are_spread_and_counted_as_if_there_was_one_process(lasting, second_pid):
    receiver, pid = lasting, second_pid
    known = len(released(receiver))
    alone = sockets(pid)
    before = receiver.metric("draw_scp_objects_stored_total")
    objects = series(4, size_bytes=200_000) + series(4, size_bytes=5_000)
    with ExitStack() as stack:
        opened = [stack.enter_context(raw_association(receiver.port, objects[0])) for _ in range(4)]
        assert wait_until(lambda: sockets(pid) - alone == 2, 60)
        assert receiver.metric("draw_scp_active_associations") == 4
        for number, made in enumerate(objects):
            assert opened[number % 4].send(made) == 0
        assert opened[0].send(objects[0], data=b"this is not DICOM" * 50) == 0xC000
        assert opened[1].send(objects[1], sop_instance="1.2.3.4") == 0xA900
        for raw in opened:
            raw.release()
    assert wait_until(lambda: receiver.metric("draw_scp_active_associations") == 0, 60)
    assert sockets(pid) == alone
    files = {p.stem: p for p in receiver.files() if "objects" in p.parts}
    assert all(encoded_data_set(files[m.SOPInstanceUID]) == encoded(m) for m in objects)
    assert wait_until(
        lambda: receiver.metric("draw_scp_objects_stored_total") - before == len(objects), 5
    )
    assert wait_until(lambda: len(released(receiver)) == known + 4, 60)
    ended = released(receiver)[known:]
    assert sorted((line["objects"], line["operations"]) for line in ended) == [
        (2, 2),
        (2, 2),
        (2, 3),
        (2, 3),
    ]
    assert sorted(line["status"] for line in receiver.lines("store.refused")) == [
        "0xA900",
        "0xC000",
    ]


def test_the_limit_of_associations_holds_for_both_together(tmp_path):
    receiver = ReceiverProcess(tmp_path, DRAW_SCP_PROCESSES="2")
    receiver.configure(network={"max_associations": 3})
    receiver.start()
    try:
        receiver.start_second()
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(raw_association(receiver.port, build()))
            assert rejection(receiver.port) is not None
    finally:
        receiver.stop()


@pytest.mark.parametrize(
    "contexts", [(Verification,), (CTImageStorage, PatientRootQueryRetrieveInformationModelFind)]
)
def test_what_does_more_or_less_than_store_stays_where_it_was_accepted(
    lasting, second_pid, contexts
):
    alone = sockets(second_pid)
    ae = AE()
    for context in contexts:
        ae.add_requested_context(context)
    association = ae.associate("127.0.0.1", lasting.port, ae_title="DRAW_SCP")
    assert association.is_established
    time.sleep(0.3)
    assert sockets(second_pid) == alone
    association.release()


def test_verification_is_answered_on_an_association_that_stores(lasting, second_pid):
    alone = sockets(second_pid)
    ae = AE()
    for context in (Verification, CTImageStorage):
        ae.add_requested_context(context)
    association = ae.associate("127.0.0.1", lasting.port, ae_title="DRAW_SCP")
    assert wait_until(lambda: sockets(second_pid) - alone == 1, 60)
    assert association.send_c_echo().Status == 0
    association.release()
    assert wait_until(lambda: sockets(second_pid) == alone, 60)


@pytest.mark.parametrize("storage", [{"naming": "sequential"}, {"structure": "date"}])
def test_names_that_depend_on_the_time_are_given_by_one_process(tmp_path, storage):
    receiver = ReceiverProcess(tmp_path, DRAW_SCP_PROCESSES="2")
    receiver.configure(storage=storage)
    receiver.start()
    try:
        made = build()
        with raw_association(receiver.port, made), raw_association(receiver.port, made) as raw:
            assert raw.send(made) == 0
        with raw_association(receiver.port, made) as again:
            assert again.send(made) == 0
        time.sleep(1.5)
        assert receiver.receiving_pids == []
        assert len([p for p in receiver.files() if "objects" in p.parts]) == 1
    finally:
        receiver.stop()


@pytest.mark.usefixtures("second_pid")
def test_the_same_object_through_both_processes_is_one_file(lasting):
    made = build()
    with raw_association(lasting.port, made) as one, raw_association(lasting.port, made) as other:
        assert one.send(made) == 0
        assert other.send(made) == 0
    stored = [p for p in lasting.files() if "objects" in p.parts]
    assert [p.stem for p in stored].count(made.SOPInstanceUID) == 1


def acknowledged_until(receiver, kill):
    """Have four peers send, call `kill` in the middle, and return what was acknowledged."""
    acknowledged = {}

    def send(objects):
        with suppress(ConnectionError), raw_association(receiver.port, objects[0]) as raw:
            for made in objects:
                if raw.send(made) == 0:
                    acknowledged[made.SOPInstanceUID] = made

    threads = [
        threading.Thread(target=send, args=(series(60, size_bytes=400_000),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(acknowledged) > 40, 60)
    kill()
    for thread in threads:
        thread.join(30)
    return acknowledged


def assert_durable(receiver, acknowledged):
    def files():
        return {p.stem: p for p in receiver.files() if "objects" in p.parts}

    found = files()
    for uid, made in acknowledged.items():
        assert encoded_data_set(found[uid]) == encoded(made)
    spool = receiver.root / "spool" / "one"
    assert not list(spool.glob("*.part"))
    # One that was not answered may have no name among the objects yet: the outbox gives it one as
    # soon as there is a broker.
    named = [entry for entry in spool.glob("*.dcm") if entry.stat().st_nlink > 1]
    assert len(named) == len(files()), "all that is durable is to be announced"


def test_killed_with_objects_on_their_way_it_loses_none_and_is_replaced(receiver):
    pid = receiver.start_second()
    acknowledged = acknowledged_until(receiver, lambda: os.kill(pid, signal.SIGKILL))
    # Two associations of four ended with the process.
    assert 120 <= len(acknowledged) < 240
    assert wait_until(lambda: receiver.metric("draw_scp_active_associations") == 0, 60)
    [ended] = receiver.lines("receiving.ended")
    assert ended["associations"] == 2
    reasons = [line["reason"] for line in receiver.lines("association.closed")]
    assert reasons.count("the receiving process ended") == 2
    assert_durable(receiver, acknowledged)
    assert receiver.start_second() != pid


def test_it_ends_with_its_receiver_and_gives_the_spool_folder_back(receiver):
    pid = receiver.start_second()
    acknowledged = acknowledged_until(receiver, receiver.kill)
    assert 40 <= len(acknowledged) < 240
    assert wait_until(lambda: not alive(pid), 60)
    receiver.start()
    assert_durable(receiver, acknowledged)
    made = build()
    with raw_association(receiver.port, made) as raw:
        assert raw.send(made) == 0


def test_stopping_waits_for_its_associations_and_aborts_what_is_left(receiver):
    pid = receiver.start_second()
    alone = sockets(pid)
    objects = series(2, size_bytes=100_000)
    with ExitStack() as stack:
        busy, idle = (
            stack.enter_context(raw_association(receiver.port, objects[0])) for _ in range(2)
        )
        assert wait_until(lambda: sockets(pid) - alone == 1, 60)
        receiver.ask_to_stop()
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", receiver.port), 2).close()
        assert busy.send(objects[0]) == 0
        assert idle.send(objects[1]) == 0
        assert receiver.wait(GRACE_SECONDS + 3) == 0
        for raw in (busy, idle):
            with pytest.raises((AssertionError, PeerClosed)):
                raw.send(objects[0])
    assert not alive(pid)
    outcomes = [line["outcome"] for line in receiver.lines("association.closed")[-2:]]
    assert outcomes == ["aborted", "aborted"]
