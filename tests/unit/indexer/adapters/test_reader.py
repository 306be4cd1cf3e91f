"""The reading process with files that crash, exhaust or hang it; the indexer goes on.

Not covered here: a storage that hangs in the kernel, which cannot be made without one.
"""

import os
import signal
import struct
from pathlib import Path

import pytest

from draw_indexer.adapters.reader import ConfinedHeaderReader
from draw_indexer.models import FileMissing, Header, HostileFile, ReaderTooSlow, Unreadable
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.part10 import FileMeta
from support import datasets

pytestmark = pytest.mark.security

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def folder(tmp_path):
    datasets.write(datasets.build(PatientID="GOOD"), tmp_path / "good.dcm")
    return tmp_path


@pytest.fixture
def make(folder):
    made = []

    def build(**limits):
        limits = {"seconds": 20, "cpu_seconds": 5, "memory_mb": 768} | limits
        reader = ConfinedHeaderReader(folder, **limits)
        made.append(reader)
        return reader

    yield build
    for reader in made:
        reader.stop(2)


def slow_file(path: Path) -> Path:
    """Write a header that takes seconds of processor time: as many odd elements as are read."""
    meta = FileMeta(CT, "1.2.3", "1.2.840.10008.1.2.1").encode()
    elements = (
        struct.pack("<HH2sH", group, number, b"??", 2) + b"ab"
        for group in range(0x09, 0x21, 2)
        for number in range(0x10000)
    )
    path.write_bytes(meta + b"".join(elements))
    return path


def test_good_files_among_bad_ones(folder, make):
    (folder / "text.dcm").write_text("no DICOM")
    answers = make().read(["good.dcm", "text.dcm", "missing.dcm", "good.dcm"])
    assert isinstance(answers[0], Header)
    assert answers[0].patient["PatientID"] == "GOOD"
    assert isinstance(answers[1], Unreadable)
    assert isinstance(answers[2], FileMissing)
    assert answers[3].patient is answers[0].patient


def test_a_folder_in_place_of_a_file_is_tried_again(folder, make):
    (folder / "folder.dcm").mkdir()
    assert isinstance(make().read(["folder.dcm"])[0], FileMissing)


def test_a_file_that_takes_too_much_processor_time_is_given_up_alone(folder, make):
    slow_file(folder / "slow.dcm")
    replaced = []
    reader = make(cpu_seconds=1, replaced=lambda: replaced.append(1))
    answers = reader.read(["good.dcm", "slow.dcm", "good.dcm"])
    assert isinstance(answers[1], HostileFile)
    assert isinstance(answers[0], Header)
    assert isinstance(answers[2], Header)
    assert replaced


def test_a_file_that_takes_too_long_is_tried_again_later(folder, make):
    slow_file(folder / "slow.dcm")
    reader = make(cpu_seconds=60, seconds=0.7)
    reader.start()
    answers = reader.read(["good.dcm", "slow.dcm"])
    assert isinstance(answers[1], ReaderTooSlow)


@pytest.mark.parametrize("long_dead", [False, True])
def test_a_killed_process_is_replaced(folder, make, long_dead):
    reader = make()
    reader.start()
    os.kill(reader._process.pid, signal.SIGKILL)
    if long_dead:
        reader._process.wait(10)
    assert isinstance(reader.read(["good.dcm"])[0], Header)


def test_the_process_ends_with_the_reader(make):
    reader = make()
    reader.start()
    process = reader._process
    reader.stop(2)
    assert process.poll() == 0


def test_private_information_that_is_no_json_says_nothing(folder, make):
    raw = (folder / "good.dcm").read_bytes()
    meta = FileMeta(CT, "1.2.3", "1.2.840.10008.1.2.1", provenance={"a": "b"}).encode()
    assert part10.decode(meta)[0].provenance == {"a": "b"}
    damaged = meta.replace(b'{"a":"b"}', b'{"a":"b" ')
    assert part10.decode(damaged)[0].provenance == {}
    (folder / "odd.dcm").write_bytes(damaged + raw[part10.data_set_offset(raw) :])
    assert make().read(["odd.dcm"])[0].patient["PatientID"] == "GOOD"
