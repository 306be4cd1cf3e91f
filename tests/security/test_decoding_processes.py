"""A hostile object costs a process that decodes, and neither the service nor other objects.

The limits are those of the kernel; they are smaller here than in production so that little
is needed to exceed them. That the containers have room for the limits in production is shown
in tests/architecture/test_memory_limits.py; a receiver that is asked for a hostile object in
tests/e2e/test_query_retrieve.py.
"""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from bench.process_cost import cost
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.decoding_processes import DecodingProcesses
from draw_shared.dicom.transcoding.source import NotNow, TooCostly, Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import datasets
from support.elements import element, encapsulated, write
from support.waiting import wait_until

pytestmark = pytest.mark.security

MIB = 1024 * 1024
SMALL = DecodingLimits(longest_frame=MIB, longest_inflated=16 * MIB, process_bytes=64 * MIB)
IMPATIENT = DecodingLimits(longest_frame=MIB, cpu_seconds=1)
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
IMAGE = (
    element(0x00280002, "US", b"\1\0")
    + element(0x00280004, "CS", b"MONOCHROME2 ")
    + element(0x00280008, "IS", b"%d")
    + element(0x00280010, "US", struct.pack("<H", 512))
    + element(0x00280011, "US", struct.pack("<H", 512))
    + element(0x00280100, "US", b"\x10\0")
    + element(0x00280101, "US", b"\x10\0")
    + element(0x00280103, "US", b"\0\0")
)
FRAME = bytes(512 * 512 * 2)


@pytest.fixture
def processes(tmp_path):
    """A function that makes processes which end with the test."""
    made = []

    def make(limits=SMALL, **options):
        made.append(DecodingProcesses(limits, tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def intact(tmp_path):
    """An object with which nothing is wrong."""
    return write(tmp_path / "intact.dcm", element(0x00100010, "PN", b"A^B "))


def image(path, frames, *, count=None, table=b""):
    count = len(frames) if count is None else count
    body = IMAGE.replace(b"%d", b"%-2d" % count) + encapsulated(frames, table=table)
    return write(path, body, UNCOMPRESSED_FRAMES)


def zeros(path):
    """An object of some KiB that is 64 MiB when it is inflated."""
    body = element(0x00091001, "OB", bytes(64 * MIB))
    return write(path, body, DEFLATED_LITTLE)


def crowd(path):
    """An object of which each offset has to be remembered: 100 MiB."""
    numbers = struct.pack("<1000000I", *range(0, 8_000_000, 8))
    return image(path, [FRAME] * 3, count=2, table=numbers)


def endless(path):
    """An object that takes many seconds to be passed through."""
    one = b"".join(element(0x00090000 + n, "UN", b"") for n in range(0x1000, 0x2000))
    return write(path, one * 500)


def jpeg(path, side, *, another_scan_inside=False):
    """An object with one grey frame of JPEG, which says of itself that it has this size."""
    encoded = io.BytesIO()
    Image.radial_gradient("L").save(encoded, "JPEG")
    before, start, frame = encoded.getvalue().partition(b"\xff\xc0")
    frame = frame[:3] + struct.pack(">HH", side, side) + frame[7:]
    if another_scan_inside:
        middle = frame.index(b"\xff\xda") + 100
        scan = bytes.fromhex("ffda000c03010002110311003f00")
        frame = frame[:middle] + scan + frame[middle:]
    made = datasets.build("CT", transfer_syntax=JPEGBaseline8Bit)
    made.Rows = made.Columns = side
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = encapsulate([before + start + frame])
    made["PixelData"].is_undefined_length = True
    made.save_as(path, enforce_file_format=True)
    return path


def sent(transcoder, path, syntax=IMPLICIT_LITTLE):
    return b"".join(transcoder.chunks(path, syntax))


@pytest.mark.parametrize(
    ("hostile", "limits", "failure", "reason"),
    [
        (zeros, SMALL, Untranscodable, "longer than 16777216 bytes"),
        (crowd, SMALL, TooCostly, "more than 70 MiB"),
        (endless, IMPATIENT, TooCostly, "more than 1 s of processor time"),
    ],
)
def test_a_hostile_object_costs_no_more_than_a_process(
    processes, tmp_path, intact, hostile, limits, failure, reason
):
    path = hostile(tmp_path / "hostile.dcm")
    decoding = processes(limits)
    transcoder = Transcoder(decoding)
    before = cost([os.getpid()]).rss_mib
    with pytest.raises(failure, match=reason):
        sent(transcoder, path)
    assert cost([os.getpid()]).rss_mib - before < 8
    assert sent(transcoder, intact)
    # What took too much is not tried again.
    running = set(decoding.pids)
    with pytest.raises(Untranscodable, match=reason):
        sent(transcoder, path)
    assert set(decoding.pids) == running


def test_others_are_decoded_meanwhile(processes, tmp_path, intact):
    decoding = processes(IMPATIENT)
    transcoder = Transcoder(decoding)
    path = endless(tmp_path / "hostile.dcm")
    failures = []

    def ask():
        with pytest.raises(TooCostly):
            sent(transcoder, path)
        failures.append(path)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: decoding.pids, 60)
    assert sent(transcoder, intact)
    thread.join(90)
    assert failures == [path]


def test_a_process_that_is_killed_is_replaced(processes, tmp_path, intact):
    decoding = processes(DecodingLimits(), processes=1)
    transcoder = Transcoder(decoding)
    expected = sent(transcoder, intact)
    (pid,) = decoding.pids
    # While it waits, nobody notices.
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not decoding.pids, 60)
    assert sent(transcoder, intact) == expected
    # While it decodes, its object fails.
    (pid,) = decoding.pids
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(TooCostly, match="the process that decoded it ended"):
        sent(transcoder, image(tmp_path / "image.dcm", [FRAME]))
    assert sent(transcoder, intact) == expected


def test_a_codec_that_keeps_what_it_took_takes_nothing_from_others(processes, tmp_path):
    """libjpeg gives nothing back of a frame that it does not come to the end of."""
    limits = DecodingLimits(longest_frame=20 * MIB, process_bytes=128 * MIB)
    transcoder = Transcoder(processes(limits, processes=1))
    whole = jpeg(tmp_path / "whole.dcm", 3000)
    expected = sent(transcoder, whole, EXPLICIT_LITTLE)
    lying = jpeg(tmp_path / "lying.dcm", 4000, another_scan_inside=True)
    for _ in range(5):
        with pytest.raises(Untranscodable, match="a frame cannot be decoded"):
            sent(transcoder, lying, EXPLICIT_LITTLE)
    assert sent(transcoder, whole, EXPLICIT_LITTLE) == expected


def test_who_stops_waits_for_nobody(processes, tmp_path):
    decoding = processes(DecodingLimits(), processes=1)
    path = endless(tmp_path / "endless.dcm")
    failures = []

    def ask():
        with pytest.raises(NotNow, match="the service ends"):
            sent(Transcoder(decoding), path)
        failures.append(path)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: decoding.pids, 60)
    decoding.stop()
    thread.join(60)
    assert failures == [path]
    assert decoding.pids == []


def test_peers_that_take_nothing_hold_no_process(processes, tmp_path):
    frames = [bytes((n,)) * len(FRAME) for n in range(6)]
    path = image(tmp_path / "frames.dcm", frames)
    transcoder = Transcoder(processes(DecodingLimits(), processes=1))
    slow = [transcoder.chunks(path, IMPLICIT_LITTLE) for _ in range(8)]
    begun = [next(one) for one in slow]
    whole = sent(transcoder, path)
    assert whole.endswith(b"".join(frames))
    assert all(first + b"".join(rest) == whole for first, rest in zip(begun, slow, strict=True))


def test_peers_that_take_nothing_fill_no_disk(processes, tmp_path):
    few = DecodingLimits(longest_inflated=MIB + 16)
    path = write(tmp_path / "long.dcm", element(0x00091001, "OB", bytes(MIB)), DEFLATED_LITTLE)
    transcoder = Transcoder(processes(few))
    slow = [transcoder.chunks(path, IMPLICIT_LITTLE) for _ in range(4)]
    for one in slow[:3]:
        next(one)
    with pytest.raises(NotNow, match="peers that are slow"):
        next(slow[3])
    # One has taken all: there is room for another.
    assert list(slow.pop(0))
    assert sent(transcoder, path)
    for one in slow:
        one.close()


def test_a_process_is_given_no_secret(processes, intact, monkeypatch):
    monkeypatch.setenv("DRAW_DATABASE_URL", "postgresql://draw:secret@localhost/draw")
    decoding = processes()
    assert sent(Transcoder(decoding), intact)
    (pid,) = decoding.pids
    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_files_without_a_name_are_all_that_is_kept(processes, tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    path = image(tmp_path / "image.dcm", [bytes(len(FRAME))] * 5)
    decoding = DecodingProcesses(DecodingLimits(), room)
    try:
        assert sent(Transcoder(decoding), path)
        assert list(room.iterdir()) == []
    finally:
        decoding.stop()


def test_who_sends_loads_no_decoder(tmp_path):
    script = """
import sys
from pathlib import Path
from draw_shared.dicom.transcoding.decoding import DecodingLimits
from draw_shared.dicom.transcoding.decoding_processes import DecodingProcesses
from draw_shared.dicom.transcoding.transcoder import Transcoder
decoding = DecodingProcesses(DecodingLimits(), Path(sys.argv[2]))
print(sum(map(len, Transcoder(decoding).chunks(Path(sys.argv[1]), "1.2.840.10008.1.2"))))
decoding.stop()
print(*(name for name in ("numpy", "pydicom.pixels", "openjpeg", "rle") if name in sys.modules))
"""
    words = (sys.executable, "-c", script, get_testdata_file("MR_small_RLE.dcm"), str(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=90)
    size, loaded = done.stdout.splitlines()
    assert int(size) > 64 * 64 * 2
    assert loaded == ""


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_rle_2frame.dcm",
        "image_dfl.dcm",
    ],
)
def test_processes_decode_as_this_one_would(processes, tmp_path, name):
    path = Path(get_testdata_file(name))
    here, there = Decoder(DecodingLimits(), tmp_path), processes(DecodingLimits())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pydicom.dcmread(path).SOPInstanceUID
        for syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE):
            assert sent(Transcoder(there), path, syntax) == sent(Transcoder(here), path, syntax)


def test_what_is_written_is_limited(processes, tmp_path):
    # Declared sizes are believed by nobody: the kernel ends what is written too.
    few = DecodingLimits(longest_frame=MIB, longest_inflated=MIB // 4)
    body = b"".join(element(0x00090000 + n, "UN", bytes(60_000)) for n in range(0x1000, 0x1050))
    path = write(tmp_path / "long.dcm", body)
    with pytest.raises(OSError, match="File too large"):
        sent(Transcoder(processes(few)), path)
