"""What the index takes from files, against pydicom's reading of the same files.

Not covered here: limits of memory and processor time, which the reading process has.
"""

import os
import warnings

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from draw_indexer.adapters import header_reader
from draw_indexer.adapters.header_reader import HeaderReader
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.query import keys
from draw_shared.dicom.query.keys import Level
from support import datasets, senders
from support import odd_data_sets as odd

FILES = datasets.storable_files()
DAMAGED_FILES = frozenset({"SC_rgb_jpeg.dcm"})
"""Implicit VR under a JPEG transfer syntax."""


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read(path):
    *levels, flaws = HeaderReader().read(str(path))
    return dict(zip(Level, levels, strict=True)), not flaws


def written(tmp_path, **elements):
    made = datasets.build(**elements)
    return datasets.write(made, tmp_path / "one.dcm")


def changed(path, find, replace):
    raw = path.read_bytes()
    assert raw.count(find) == 1
    path.write_bytes(raw.replace(find, replace))
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_says_what_pydicom_says(path):
    levels, complete = read(path)
    assert complete == (path.name not in DAMAGED_FILES)
    by_pydicom = senders.read(path)
    for level, found in levels.items():
        for attribute in keys.of_level(level):
            value = by_pydicom.get(attribute.keyword)
            if attribute.vr == "PN" and value and not isinstance(value, str):
                value = str(value) if not hasattr(value, "__iter__") else value
            if value is None or attribute.vr not in {"PN", "LO", "CS", "UI", "US"}:
                continue
            if isinstance(value, str | int):
                values = [value]
            else:
                values = (
                    [value]
                    if attribute.vr == "PN" and hasattr(value, "family_name")
                    else (list(value))
                )
            expected = "\\".join(str(one).strip() for one in values)
            got = found.get(attribute.keyword, "")
            assert got.rstrip("=^ ") == expected.rstrip("=^ "), attribute.keyword


def test_values_are_freed_of_padding_and_nul(tmp_path):
    path = changed(written(tmp_path, PatientID="ABCDEF"), b"ABCDEF", b" AB\0 \0")
    levels, _ = read(path)
    assert levels[Level.PATIENT]["PatientID"] == "AB"


def test_dates_and_numbers_stay_text(tmp_path):
    path = changed(
        written(tmp_path, StudyDate="20040119", InstanceNumber="12345678"), b"12345678", b"many    "
    )
    levels, _ = read(path)
    assert levels[Level.STUDY]["StudyDate"] == "20040119"
    assert levels[Level.IMAGE]["InstanceNumber"] == "many"


def test_absent_and_empty_values_are_left_out(tmp_path):
    levels, _ = read(written(tmp_path, AccessionNumber="", OtherPatientIDs=["", ""]))
    assert "AccessionNumber" not in levels[Level.STUDY]
    assert "OtherPatientIDs" not in levels[Level.PATIENT]


@pytest.mark.parametrize(
    ("charset", "name", "raw"),
    [
        ("ISO_IR 192", "Müller^Jörg=山田^太郎", None),
        ("ISO_IR 100", "Müller^Jörg", None),
        ("GB18030", "Wang^XiaoDong=王^小东", None),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", None),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", None),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", None),
    ],
)
def test_names_in_character_sets(tmp_path, charset, name, raw):
    levels, _ = read(written(tmp_path, SpecificCharacterSet=charset, PatientName=name))
    assert levels[Level.PATIENT]["PatientName"] == name


def test_an_unknown_character_set_does_not_lose_the_object(tmp_path):
    path = written(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller")
    changed(path, b"ISO_IR 100", b"KLINGON 10")
    levels, complete = read(path)
    assert complete
    assert levels[Level.PATIENT]["PatientName"].startswith("M")


def test_too_long_identifiers_are_cut_and_stay_different(tmp_path):
    one, _ = read(written(tmp_path, StudyID="x" * 400 + "1"))
    other, _ = read(written(tmp_path, StudyID="x" * 400 + "2"))
    ids = [levels[Level.STUDY]["StudyID"] for levels in (one, other)]
    assert len(ids[0]) == header_reader.MAX_SHORT_LENGTH
    assert ids[0] != ids[1]


def test_request_attributes_with_their_own_character_set(tmp_path):
    request = Dataset()
    request.SpecificCharacterSet = "ISO_IR 192"
    request.AccessionNumber = "A7"
    request.RequestedProcedureDescription = "Schädel"
    empty = Dataset()
    path = written(
        tmp_path,
        SpecificCharacterSet="ISO_IR 100",
        RequestAttributesSequence=Sequence([request, empty]),
    )
    levels, _ = read(path)
    assert levels[Level.SERIES]["RequestAttributesSequence"] == [
        {"AccessionNumber": "A7", "RequestedProcedureDescription": "Schädel"}
    ]


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings(tmp_path, syntax):
    made = datasets.build("RTPLAN", transfer_syntax=syntax, RTPlanLabel="Plan A")
    levels, complete = read(datasets.write(made, tmp_path / "one.dcm"))
    assert complete
    assert levels[Level.IMAGE]["RTPlanLabel"] == "Plan A"
    assert levels[Level.PATIENT]["PatientID"] == "P1"


def test_values_behind_large_elements_are_found(tmp_path):
    made = datasets.build("CT", size_bytes=1000)
    made.add_new(0x00091001, "OB", os.urandom(300_000))
    levels, complete = read(datasets.write(made, tmp_path / "one.dcm"))
    assert complete
    assert levels[Level.SERIES]["Modality"] == "CT"
    assert levels[Level.IMAGE]["Rows"] == str(made.Rows)


def test_contours_are_not_walked_through(tmp_path):
    made = datasets.build("RTSTRUCT", StructureSetLabel="All")
    contour = Dataset()
    contour.ContourData = [1.5] * 3000
    roi = Dataset()
    roi.ContourSequence = Sequence([contour] * 20)
    made.ROIContourSequence = Sequence([roi] * 5)
    path = datasets.write(made, tmp_path / "one.dcm")
    # What is cut off here lies behind everything that is wanted.
    path.write_bytes(path.read_bytes()[:20_000])
    levels, complete = read(path)
    assert complete
    assert levels[Level.IMAGE]["StructureSetLabel"] == "All"


def test_a_damaged_rest_does_not_lose_the_beginning(tmp_path):
    path = written(tmp_path, size_bytes=50_000)
    raw = path.read_bytes()
    at = raw.index(b"\x28\x00\x10\x00US")
    path.write_bytes(raw[:at] + b"\xff" * 64 + raw[at:])
    levels, complete = read(path)
    assert not complete
    assert levels[Level.PATIENT]["PatientID"] == "P1"
    assert "Rows" not in levels[Level.IMAGE]


@pytest.mark.parametrize("kind", odd.KINDS, ids=lambda kind: kind.title)
def test_an_odd_data_set_says_everything_and_what_is_odd(kind, tmp_path):
    made = odd.new_object()
    path = tmp_path / "odd.dcm"
    path.write_bytes(FileMeta(odd.CT, made.instance, kind.syntax).encode() + kind.make(made))
    patient, study, series, image, flaws = HeaderReader().read(str(path))
    assert patient["PatientID"] == made.patient
    assert patient["PatientName"] == "Odd^Data"
    assert (study["StudyInstanceUID"], study["StudyDate"]) == (made.study, "20260102")
    assert study["StudyDescription"] == "Odd study"
    assert (series["SeriesInstanceUID"], series["Modality"]) == (made.series, "CT")
    assert (image["InstanceNumber"], image["Rows"], image["Columns"]) == ("7", "2", "3")
    # One flaw may lead to another: an implicit sequence among explicit elements.
    assert (kind.flaw in set(flaws)) if kind.flaw else not flaws
    assert made.patient not in flaws.words


def test_an_item_without_its_delimiter_is_read(tmp_path):
    made = odd.new_object()
    request = odd.element(0x00080050, "SH", "A7")
    requests = odd.sequence(0x00400275, request, request, item_ends=False)
    path = tmp_path / "odd.dcm"
    path.write_bytes(
        FileMeta(odd.CT, made.instance, odd.EXPLICIT_LITTLE).encode()
        + odd.data_set(made, (0x00400275, requests))
    )
    levels, _ = read(path)
    assert levels[Level.SERIES]["RequestAttributesSequence"] == [{"AccessionNumber": "A7"}] * 2


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.dcm"
    path.write_bytes(b"hello" * 10_000)
    with pytest.raises(Undecodable):
        read(path)


def test_a_long_file_meta_group_is_read(tmp_path):
    path = written(tmp_path)
    made = senders.read(path)
    made.file_meta.PrivateInformationCreatorUID = "1.2.3"
    made.file_meta.PrivateInformation = bytes(40_000)
    made.save_as(path)
    levels, complete = read(path)
    assert complete
    assert levels[Level.PATIENT]["PatientID"] == "P1"


def test_what_files_have_in_common_is_the_same_document(tmp_path):
    objects = datasets.series(2)
    paths = datasets.write_all(objects, tmp_path / "series")
    reader = HeaderReader()
    one, other = (reader.read(str(path)) for path in paths)
    assert all(one[level] is other[level] for level in (Level.PATIENT, Level.STUDY, Level.SERIES))
    reader.forget()
    assert reader.read(str(paths[0]))[0] is not one[0]


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        ("", "Müller^Jürgen".encode(), "Müller^Jürgen"),
        ("", b"M\xfcller^J", "Müller^J"),
        ("ISO_IR 100", "Müller^J".encode(), "MÃ¼ller^J"),
    ],
)
def test_text_that_nobody_declared_is_utf_8_if_it_can_be(tmp_path, charset, raw, name):
    made = datasets.build(SpecificCharacterSet=charset or None)
    made.add_new("PatientName", "PN", raw)
    levels, _ = read(datasets.write(made, tmp_path / "one.dcm"))
    assert levels[Level.PATIENT]["PatientName"] == name
