"""Rendering and reading in child processes: every codec, hostile files, deadlines, no secrets.

How the page shows the result is not covered here but in the e2e tests.
"""

import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from draw_api.adapters import object_elements, object_reader, object_tables
from draw_api.adapters.object_reader import ConfinedObjectReader
from draw_api.adapters.zip_stream import zip_files
from draw_api.models.objects import Rendering, StoredFile
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE
from support import datasets, phantom
from support.elements import element
from support.indexed import IndexedStorage
from support.waiting import wait_until

pytestmark = pytest.mark.integration

FILES = datasets.DATA / "test_files"
# Not whole, or in a way that no codec here decodes; each is refused in words.
NOT_RENDERED = {
    "JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm",
    "badVR.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm", "no_meta_group_length.dcm",
}  # fmt: skip
WITH_PIXELS = sorted(
    path.name
    for path in FILES.glob("*.dcm")
    if "PixelData" in pydicom.dcmread(path, force=True) and path.name not in NOT_RENDERED
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    for path in FILES.glob("*.dcm"):
        shutil.copy(path, folder)
    for number, one in enumerate(phantom.study(slices=2)):
        one.save_as(folder / f"phantom{number}.dcm", enforce_file_format=True)
    (folder / "garbage.dcm").write_bytes(bytes(128) + b"DICM" + os.urandom(5000))
    return folder


@pytest.fixture(scope="module")
def reader(root):
    reader = ConfinedObjectReader(root)
    reader.start()
    yield reader
    reader.stop(1)


def opened(picture):
    return Image.open(io.BytesIO(picture.content))


@pytest.mark.parametrize("name", WITH_PIXELS)
def test_every_transfer_syntax_is_rendered(reader, root, name):
    held = pydicom.dcmread(root / name, force=True)
    facts = reader.facts(name)
    assert facts.trouble == ""
    assert facts.frames == max(1, int(held.get("NumberOfFrames") or 1))
    image = opened(reader.picture(name, Rendering(edge=2048)))
    assert image.width == held.Columns
    low, high = np.asarray(image).min(), np.asarray(image).max()
    assert low < high or held.Rows * held.Columns < 10


def test_windows_follow_the_linear_function(reader, root):
    held = pydicom.dcmread(root / "CT_small.dcm")
    values = held.pixel_array * float(held.RescaleSlope) + float(held.RescaleIntercept)
    expected = np.clip((values - (40 - 200)) * 255 / 400, 0, 255).astype(np.uint8)
    shown = np.asarray(opened(reader.picture("CT_small.dcm", Rendering(center=40, width=400))))
    assert np.array_equal(shown, expected)
    inverted = Rendering(center=40, width=400, inverted=True)
    assert np.array_equal(255 - np.asarray(opened(reader.picture("CT_small.dcm", inverted))), shown)


def test_frames_differ_and_end(reader):
    first, last = (reader.picture("rtdose.dcm", Rendering(frame=n)).content for n in (1, 15))
    assert first != last
    with pytest.raises(NotFound):
        reader.picture("rtdose.dcm", Rendering(frame=16))


def test_dose_is_in_its_unit_and_in_colour(reader):
    facts = reader.facts("phantom4.dcm")
    assert (facts.kind, facts.unit) == ("dose", "Gy")
    assert 60 < facts.high < 75
    # One scale for the whole object: a frame with little dose is not shown as if it had much.
    frames = [reader.facts("phantom4.dcm", number) for number in range(1, facts.frames + 1)]
    assert {(one.low, one.high, one.center, one.width) for one in frames} == {
        (0.0, facts.high, facts.high / 2, facts.high)
    }
    assert frames[0].location != frames[-1].location
    assert opened(reader.picture("phantom4.dcm", Rendering())).mode == "RGB"


def test_structures_and_plans_are_tables(reader):
    rows = reader.facts("phantom2.dcm").tables[0].rows
    assert ["6", "Spinal cord", "ORGAN", "#fadc3c", "8", "384", "SEMIAUTOMATIC"] in rows
    plan = reader.facts("phantom3.dcm")
    assert [table.title for table in plan.tables] == ["Prescription", "Fractions", "Beams"]
    assert plan.tables[2].rows[0][1:3] == ["Arc 1", "DYNAMIC"]
    assert ("Approval Status", "APPROVED") in plan.facts


def test_reports_show_their_headings_and_texts(reader):
    facts = reader.facts("test-SR.dcm")
    assert (facts.kind, facts.frames, facts.trouble) == ("report", 0, "")
    rows = facts.tables[0].rows
    assert rows[0] == ["Diagnosis", ""]
    for row in (["\u2003\u2003Text Code", "A mass of"], ["\u2003\u2003Diameter", "3 cm"]):
        assert row in rows


def test_objects_without_image_say_so(reader):
    with pytest.raises(Conflict, match="no image"):
        reader.picture("test-SR.dcm", Rendering())


@pytest.mark.security
@pytest.mark.parametrize("name", [*sorted(NOT_RENDERED), "garbage.dcm"])
def test_what_cannot_be_decoded_is_refused_and_the_next_is_served(reader, root, name):
    if (root / name).exists():
        with pytest.raises(Conflict):
            reader.picture(name, Rendering())
    assert reader.picture("CT_small.dcm", Rendering()).media_type == "image/png"


@pytest.mark.security
def test_sizes_that_lie_cost_nothing(reader, root):
    held = pydicom.dcmread(root / "CT_small.dcm")
    held.Rows = held.Columns = 65535
    held.save_as(root / "lies.dcm")
    assert "too large" in reader.facts("lies.dcm").trouble


@pytest.mark.security
def test_grey_frames_are_shown_up_to_what_a_child_has_memory_for(reader, root):
    held = pydicom.dcmread(root / "CT_small.dcm")
    held.Rows, held.Columns = 6400, 6400
    held.save_as(root / "large.dcm")
    with pytest.raises(Conflict, match="too large to be shown"):
        reader.picture("large.dcm", Rendering())


@pytest.mark.security
def test_what_inflates_beyond_measure_is_refused_and_the_next_is_served(reader, root):
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = deflater.compress(element(0x7FE00010, "OW", b"", length=2000 * 2**20))
    head += deflater.flush(zlib.Z_FULL_FLUSH)
    # Nothing in a block refers to what is before it: once deflated, it can be repeated.
    block = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    meta = FileMeta("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", DEFLATED_LITTLE).encode()
    (root / "bomb.dcm").write_bytes(meta + head + block * 2000 + deflater.flush())
    with pytest.raises(Conflict, match="too much memory"):
        reader.elements("bomb.dcm", "")
    # What it has taken it does not give back for certain.
    asked = zlib.crc32(b"bomb.dcm") % object_reader.CHILDREN
    assert reader._children[asked]._process is None
    assert reader.facts("CT_small.dcm").rows == 128


@pytest.mark.security
def test_a_codec_that_keeps_what_it_took_takes_nothing_from_others(root):
    encoded = io.BytesIO()
    Image.new("L", (64, 64)).save(encoded, "JPEG")
    before, frame = encoded.getvalue().split(b"\xff\xc0", 1)
    # In the frame's own header: 65000 by 65000 pixels.
    frame = frame[:3] + struct.pack(">HH", 65000, 65000) + frame[7:]
    lying = datasets.build("CT", transfer_syntax=JPEGBaseline8Bit)
    lying.Rows = lying.Columns = 64
    lying.BitsAllocated = lying.BitsStored = 8
    lying.HighBit = 7
    lying.PixelData = encapsulate([before + b"\xff\xc0" + frame])
    lying["PixelData"].is_undefined_length = True
    reader = ConfinedObjectReader(root)
    try:
        # Of two children one has each of these names.
        for name in ("a.dcm", "b.dcm", "c.dcm", "d.dcm"):
            lying.save_as(root / name, enforce_file_format=True)
            with pytest.raises(Conflict):
                reader.picture(name, Rendering())
        assert reader.picture("CT_small.dcm", Rendering()).content
    finally:
        reader.stop(1)


@pytest.mark.security
def test_nothing_outside_the_storage_is_opened(reader, tmp_path):
    for path in ("../../etc/passwd", "/etc/passwd", "nowhere.dcm"):
        with pytest.raises(NotFound):
            reader.facts(path)


@pytest.mark.security
def test_a_child_that_is_late_is_replaced(reader, monkeypatch):
    before = reader._children[0]._process, reader._children[1]._process
    monkeypatch.setattr(object_reader, "REQUEST_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(Conflict):
        reader.picture("JPEG2000.dcm", Rendering(center=1, width=9))
    monkeypatch.undo()
    assert any(one and wait_until(lambda p=one: p.poll() is not None, 5) for one in before)
    assert reader.picture("JPEG2000.dcm", Rendering()).content


@pytest.mark.security
def test_children_know_no_settings(reader, monkeypatch, root):
    monkeypatch.setenv("DRAW_DATABASE_URL", "postgresql://secret")
    other = ConfinedObjectReader(root)
    other.facts("CT_small.dcm")
    pids = [c._process.pid for c in other._children if c._process]
    seen = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]
    other.stop(1)
    assert seen
    assert not any(b"DRAW_" in one for one in seen)


def test_elements_are_found_with_the_sequences_above(reader):
    found = reader.elements("rtplan.dcm", "gantry angle").items
    assert [one.name for one in found][:3] == ["Beam Sequence", "Item 1", "Control Point Sequence"]
    assert any(one.tag == "(300A,011E)" for one in found)
    whole = reader.elements("CT_small.dcm", "")
    pixel = next(one for one in whole.items if one.name == "Pixel Data")
    assert pixel.value == "32768 bytes"
    assert not whole.truncated


def test_text_is_read_in_its_character_set_in_items_too(tmp_path):
    chinese = b"\x1b$)A\xd5\xc5"
    own = datasets.with_bytes(
        Dataset(), SpecificCharacterSet=b"iso_ir_192", DoseReferenceDescription="山".encode()
    )
    others = datasets.with_bytes(Dataset(), DoseReferenceDescription=chinese)
    made = datasets.build("RTPLAN")
    datasets.with_bytes(
        made,
        SpecificCharacterSet=b"\\ISO 2022 IR 58",
        PatientName=b"=" + chinese + b"^\xff",
        RTPlanName=chinese,
    )
    made.DoseReferenceSequence = [others, own]
    path = str(datasets.write(made, tmp_path / "plan.dcm"))
    rows = object_elements.elements(path, "")["items"]
    shown = {(row["tag"], row["value"]) for row in rows}
    assert {
        ("(0010,0010)", "=张^�"), ("(300A,0016)", "张"), ("(300A,0016)", "山"),
    } <= shown  # fmt: skip
    plan = object_tables.plan_tables(path)
    assert ("RT Plan Name", "张") in plan["facts"]
    assert [row[1] for row in plan["tables"][0]["rows"]] == ["张", "山"]


def test_the_tree_of_elements_is_bounded(root, monkeypatch):
    monkeypatch.setattr(object_elements, "MAX_ELEMENTS", 10)
    found = object_elements.elements(str(root / "rtplan.dcm"), "")
    assert len(found["items"]) == 10
    assert found["truncated"]


def test_a_search_that_did_not_reach_all_tags_says_so(shared_api):
    archive = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    made = datasets.build("CT")
    made.ReferencedStudySequence = [Dataset() for _ in range(object_elements.MAX_ELEMENTS)]
    archive.receive(made)
    archive.close()
    page = f"/instances/{made.SOPInstanceUID}/elements?search="
    viewer = shared_api.of_role("viewer")
    assert "the image has more" in viewer.get(f"{page}nowhere").text
    assert "Only the first tags" not in viewer.get(f"{page}Modality").text


def test_a_zip_archive_has_every_file_byte_by_byte(root):
    files = [StoredFile(name, f"s/{name}", 0) for name in ("CT_small.dcm", "rtdose.dcm")]
    lost = [StoredFile("lost.dcm", "s/lost.dcm", 0), StoredFile("../../etc/passwd", "p", 0)]
    whole = io.BytesIO(b"".join(zip_files(root, [*files, *lost])))
    with zipfile.ZipFile(whole) as archive:
        assert archive.namelist() == [*(file.name for file in files), "MISSING.txt"]
        told = archive.read("MISSING.txt").decode()
        assert told.splitlines()[1:] == ["s/lost.dcm", "p"]
        for file in files:
            assert archive.read(file.name) == (root / file.path).read_bytes()
