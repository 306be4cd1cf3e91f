"""The receiver alone against crashes, a full disk and bad input.

Not covered here: the rest of the suite (test_outages) and hostile PDUs.
"""

import contextlib
import hashlib
import json
import threading
from pathlib import Path

import pika
import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context
from pynetdicom.sop_class import EncapsulatedPDFStorage, Verification

from draw_shared.contracts.instance import InstanceStoredV2
from draw_shared.contracts.server_config import REFERENCE
from draw_shared.dicom.network.wire import PeerClosed
from draw_shared.messaging import topology
from draw_shared.storage.places import Places
from support import senders
from support.datasets import build, encoded_data_set, series, write_all
from support.raw_stores import raw_association
from support.receiver_process import ReceiverProcess
from support.receptions import encoded
from support.small_disk import fill, mounted
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.fault]


@pytest.fixture
def receiver(tmp_path):
    receiver = ReceiverProcess(tmp_path)
    receiver.start()
    yield receiver
    receiver.stop()


def drain(url):
    """Take all announcements that wait in the indexer's queue."""
    found = []
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    topology.declare(channel)
    while True:
        method, _, body = channel.basic_get(topology.INSTANCE_STORED, auto_ack=True)
        if method is None:
            connection.close()
            return found
        found += [InstanceStoredV2.from_bytes(line) for line in body.splitlines()]


def test_killed_during_stores_nothing_acknowledged_is_lost(tmp_path, broker_url):
    drain(broker_url)
    receiver = ReceiverProcess(tmp_path, broker_url=broker_url)
    receiver.start()
    acknowledged = {}

    def sender(objects):
        with (
            contextlib.suppress(ConnectionError),
            raw_association(receiver.port, objects[0]) as raw,
        ):
            for made in objects:
                if raw.send(made) == 0:
                    acknowledged[made.SOPInstanceUID] = encoded(made)

    threads = [
        threading.Thread(target=sender, args=(series(400, size_bytes=20_000),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(acknowledged) > 150, 60)
    receiver.kill()
    for thread in threads:
        thread.join(30)
    receiver.start()
    try:
        spool = receiver.root / "spool" / "one"
        assert wait_until(lambda: not list(spool.glob("*.dcm")), 60)
        assert not list(spool.glob("*.part"))
    finally:
        receiver.stop()
    events = {event.sop_instance_uid: event for event in drain(broker_url)}
    assert events.keys() >= acknowledged.keys()
    for uid, data in acknowledged.items():
        stored = receiver.root / Places(receiver.root).unseal(events[uid])
        assert encoded_data_set(stored) == data
        assert events[uid].content_sha256 == hashlib.sha256(data).hexdigest()
    held = {path.stem for path in (receiver.root / "objects").rglob("*.dcm")}
    assert held == events.keys(), "what was stored is announced, acknowledged or not"


def test_an_announcer_ends_with_its_receiver(tmp_path, broker_url):
    receiver = ReceiverProcess(tmp_path, broker_url=broker_url)
    receiver.start()
    announcer = receiver.announcer_pid
    receiver.kill()
    assert wait_until(lambda: not Path(f"/proc/{announcer}/cmdline").exists(), 60)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.parametrize("size", [400_000, 3_000_000])
def test_a_full_disk_is_out_of_resources_and_leaves_nothing(tmp_path, small_disk, size):
    receiver = ReceiverProcess(tmp_path, small_disk)
    receiver.start()
    try:
        objects = series(14, size_bytes=size)
        statuses = senders.send_objects(receiver.port, objects)
        assert statuses[0] == 0
        assert set(statuses) == {0, 0xA700}
        stored = [m.SOPInstanceUID for m, s in zip(objects, statuses, strict=True) if s == 0]
        names = {p.stem for p in receiver.files() if "spool" not in p.parts}
        assert names == set(stored)
        assert len([p for p in receiver.files() if "spool" in p.parts]) == len(stored)
        assert receiver.lines("store.refused")[0]["status"] == "0xA700"
        fill(small_disk)
        statuses += senders.send_objects(receiver.port, series(100))
    finally:
        receiver.stop()
    assert set(statuses[14:]) == {0xA700}
    raw = b"".join(path.read_bytes() for path in small_disk.rglob("*.jsonl"))
    kinds = [json.loads(line)["kind"] for line in raw.replace(b"\0", b"").splitlines()]
    assert kinds.count("c-store") == len(statuses), "the audit trail has its room"


def test_what_is_written_already_needs_no_more_room(tmp_path, small_disk):
    receiver = ReceiverProcess(tmp_path, small_disk)
    receiver.start()
    try:
        [made] = series(1, size_bytes=3_000_000)
        with raw_association(receiver.port, made) as raw:
            # Longer than the free space of the disk is believed.
            assert raw.send(made, pause_seconds=0.5) == 0
    finally:
        receiver.stop()


def test_bad_input_gets_its_status_a_log_line_and_leaves_nothing(receiver):
    made = build(PatientName="Secret^Name", PatientID="SECRETID")
    other = build("MR")
    with raw_association(receiver.port, made) as raw:
        assert raw.send(made, data=b"this is not DICOM" * 50) == 0xC000
        assert raw.send(made, data=encoded(other)) == 0xA900
        assert raw.send(made, sop_instance="1.2.3.4") == 0xA900
        assert raw.send(made, sop_instance="../../../etc/passwd") == 0x0117
        assert raw.send(made, sop_class=other.SOPClassUID) == 0x0122
        assert raw.send(made) == 0
    assert [p.stem for p in receiver.files() if "objects" in p.parts] == [made.SOPInstanceUID]
    assert len(receiver.lines("store.refused")) == 5
    assert "SECRET" not in receiver.log.read_text().upper()


def test_a_sop_class_that_is_switched_off_is_not_negotiated(tmp_path):
    receiver = ReceiverProcess(tmp_path)
    receiver.configure(REFERENCE)
    receiver.start()
    try:
        client = AE("TESTER")
        asked = [build_context(EncapsulatedPDFStorage), build_context(Verification)]
        with_echo = client.associate("127.0.0.1", receiver.port, contexts=asked)
        assert [str(c.abstract_syntax) for c in with_echo.accepted_contexts] == [Verification]
        assert with_echo.send_c_echo().Status == 0
        with_echo.release()
    finally:
        receiver.stop()


def test_dcmtk_is_served_and_the_bytes_are_its_own(tmp_path, receiver):
    objects = series(5, size_bytes=600_000)
    assert senders.storescu(receiver.port, write_all(objects, tmp_path / "sent")) == []
    files = {p.stem: p for p in receiver.files() if "objects" in p.parts}
    for made in objects:
        assert encoded_data_set(files[made.SOPInstanceUID]) == encoded(made)
        assert dcmread(files[made.SOPInstanceUID]).file_meta.SendingApplicationEntityTitle


def test_an_association_that_breaks_in_an_object_leaves_nothing_of_it(receiver):
    made = build(size_bytes=3_000_000)
    with raw_association(receiver.port, made) as raw, contextlib.suppress(PeerClosed):
        raw.send_part(made)
    assert wait_until(lambda: receiver.lines("association.closed"), 60)
    assert receiver.files() == []


def test_a_second_process_with_the_same_name_does_not_touch_the_spool(tmp_path, receiver):
    (tmp_path / "second").mkdir()
    second = ReceiverProcess(tmp_path / "second", receiver.root)
    with pytest.raises(AssertionError, match="belongs to a running process"):
        second.start(seconds=25)
    assert receiver.ready()
