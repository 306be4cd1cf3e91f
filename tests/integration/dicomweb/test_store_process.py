"""The DICOMweb service as a process: what is stored when it is killed, what memory it takes."""

import struct

import pytest

from draw_shared.messaging import topology
from draw_shared.messaging.consumer import Consumer
from support import datasets
from support.indexed import IndexedStorage, stored_files
from support.storing import REFERENCED, DicomwebProcess, begin, body_of, part10, prepare, reported
from support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def process(database, database_url, broker_url, tmp_path):
    prepare(database, broker_url)
    (tmp_path / "storage").mkdir()
    made = DicomwebProcess(database, database_url, broker_url, tmp_path / "storage")
    yield made
    made.kill()


def test_what_was_answered_is_there_once_after_a_kill_in_the_middle(process, database):
    answered, sent = datasets.series(30), datasets.series(30, size_bytes=400_000)
    # Without a broker nothing is announced before the kill.
    process.start(DRAW_BROKER_URL="amqp://guest:guest@127.0.0.1:1/none")
    assert process.store(body_of(map(part10, answered))).status_code == 200
    content = body_of(map(part10, sent))
    with begin(process, content[: len(content) // 2], len(content), process.port):
        assert wait_until(lambda: len(stored_files(process.root)) >= 40)
        process.kill()
    begun = stored_files(process.root)
    assert len(begun) < 60
    process.start()
    indexed = IndexedStorage(process.root, database, receiving=False)
    indexer = Consumer(
        process._environment["DRAW_BROKER_URL"],
        topology.INSTANCE_STORED_WORK,
        indexed._handler.on_instances_stored,
        client="test",
    )
    indexer.start()
    try:
        assert wait_until(lambda: len(indexed.scalars("SELECT path FROM instances")) == len(begun))
        again = process.store(content)
        assert again.status_code == 200
        assert len(reported(again, REFERENCED)) == 30
        assert wait_until(lambda: len(indexed.scalars("SELECT path FROM instances")) == 60)
    finally:
        indexer.stop(5)
    uids = {str(made.SOPInstanceUID) for made in (*answered, *sent)}
    assert set(indexed.scalars("SELECT sop_instance_uid FROM instances")) == uids
    assert set(indexed.scalars("SELECT path FROM instances")) == stored_files(process.root)
    assert not indexed.scalars("SELECT path FROM instance_conflicts")
    left = process.root / "spool" / "one"
    assert not [path for path in left.iterdir() if path.suffix == ".part"]


def test_a_large_object_is_never_in_memory_as_a_whole(process):
    made = datasets.build(size_bytes=10_000)
    content = body_of([part10(made)])
    at = content.index(b"\r\n--0f8e--")
    filling, times = b"\x00" * 2**20, 400
    # After the pixel data a private element may have any length.
    element = struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 4) + b"DRAW"
    element += struct.pack("<HH2sHI", 0x7FE1, 0x1000, b"OB", 0, times * len(filling))

    def body():
        yield content[:at] + element
        for _ in range(times):
            yield filling
        yield content[at:]

    process.start()
    before = process.most_resident_bytes
    answer = process.store(body())
    assert answer.status_code == 200, answer.text
    [path] = stored_files(process.root)
    assert (process.root / path).stat().st_size > times * len(filling)
    assert process.most_resident_bytes - before < 64 * 2**20
