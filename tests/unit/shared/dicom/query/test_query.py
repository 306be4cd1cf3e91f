"""What identifiers ask for, and which of them are refused."""

import struct

import pytest
from pydicom.dataset import Dataset

from draw_indexer.adapters.header_reader import HeaderReader
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.intervals import Dates, Moments, Times
from draw_shared.dicom.network.service import OperationRefused, PresentationContext, QueryRequest
from draw_shared.dicom.query.keys import BY_KEYWORD, Level
from draw_shared.dicom.query.matching import Items, Names, Nothing, Texts
from draw_shared.dicom.query.query import KNOWN, parse_find, parse_retrieve
from support import datasets
from support.identifiers import request

RELATIONAL, COMBINED = b"\1", b"\0\1"


def _status(level, *, model=uids.STUDY_ROOT_FIND, extended=b"", read=parse_find, **elements):
    with pytest.raises(OperationRefused) as refused:
        read(request(level, model, **elements), extended)
    return refused.value.status


def _conditions(query):
    return {attribute.keyword: found for attribute, found in query.conditions.items()}


@pytest.mark.parametrize("syntax", uids.MESSAGE_SYNTAXES)
def test_keys_in_every_transfer_syntax(syntax):
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    asked = request(
        "SERIES", syntax=syntax, StudyInstanceUID="1.2", PatientName="A*", Modality="CT",
        SeriesNumber="3", RequestAttributesSequence=[item],
    )  # fmt: skip
    query = parse_find(asked, b"")
    found = _conditions(query)
    assert query.level is Level.SERIES
    assert found["StudyInstanceUID"] == Texts(("1.2",))
    assert isinstance(found["PatientName"], Names)
    assert found["RequestAttributesSequence"] == Items((("RequestedProcedureID", Texts(("RP1",))),))
    assert query.complete


def test_levels_a_model_does_not_have_are_refused():
    assert _status("PATIENT") == 0xA900
    assert _status("SERIES", model=uids.PATIENT_STUDY_ONLY_FIND, StudyInstanceUID="1") == 0xA900
    assert _status("") == 0xA900
    assert _status("FRAME") == 0xA900


@pytest.mark.parametrize(
    ("level", "elements"),
    [
        ("SERIES", {}),
        ("SERIES", {"StudyInstanceUID": ""}),
        ("SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}),
        ("IMAGE", {"StudyInstanceUID": "1.2"}),
        ("IMAGE", {"SeriesInstanceUID": "1.2"}),
    ],
)
def test_one_value_of_each_key_above_is_needed(level, elements):
    assert _status(level, **elements) == 0xA900
    assert parse_find(request(level, **elements), RELATIONAL).level is Level[level]


def test_the_patient_root_model_needs_the_patient():
    model = uids.PATIENT_ROOT_FIND
    assert _status("STUDY", model=model, PatientName="A*") == 0xA900
    assert parse_find(request("STUDY", model, PatientID="1"), b"").level is Level.STUDY


def test_lower_levels_and_unknown_attributes_are_empty_and_incomplete():
    query = parse_find(request("STUDY", Modality="CT", InterpretationAuthor="X"), b"")
    assert query.conditions == {}
    assert not query.complete
    assert all(one.source is None for one in query.asked if one.tag != 0x00080054)


def test_every_answer_names_where_to_retrieve_from():
    tags = [one.tag for one in parse_find(request("STUDY", PatientID=""), b"").asked]
    assert tags == [0x00080054, 0x00100020]


def test_date_and_time_are_combined_only_when_negotiated():
    asked = {"StudyDate": "20240101-20240102", "StudyTime": "10-11"}
    apart = _conditions(parse_find(request("STUDY", **asked), b""))
    assert isinstance(apart["StudyDate"], Dates) and isinstance(apart["StudyTime"], Times)
    together = _conditions(parse_find(request("STUDY", **asked), COMBINED))
    assert isinstance(together["StudyDate"], Moments)
    assert "StudyTime" not in together


def test_keys_are_read_in_their_character_set():
    asked = request("STUDY", SpecificCharacterSet="ISO_IR 144", PatientName="Люкс*")
    (name,) = _conditions(parse_find(asked, b""))["PatientName"].names
    assert name.anywhere[0].tokens[0] == "люкс"


def test_keys_in_utf_8_that_nobody_declared_are_understood():
    raw = "Müller*".encode()
    asked = QueryRequest(
        1,
        uids.STUDY_ROOT_FIND,
        PresentationContext(1, uids.STUDY_ROOT_FIND, uids.IMPLICIT_LITTLE),
        b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY \x10\x00\x10\x00\x08\x00\x00\x00" + raw,
    )
    (name,) = _conditions(parse_find(asked, b""))["PatientName"].names
    assert name.anywhere[0].tokens[0] == "muller"


def _in_set(terms, keyword, raw):
    """Return a request with one key of these bytes."""
    tag = BY_KEYWORD[keyword].tag
    values = {0x00080005: terms, 0x00080052: b"STUDY ", tag: raw}
    identifier = b"".join(
        struct.pack("<HHI", at >> 16, at & 0xFFFF, len(value)) + value
        for at, value in sorted(values.items())
    )
    context = PresentationContext(1, uids.STUDY_ROOT_FIND, uids.IMPLICIT_LITTLE)
    return QueryRequest(1, uids.STUDY_ROOT_FIND, context, identifier)


@pytest.mark.parametrize(
    ("terms", "raw", "meant", "misread"),
    [
        (b"ISO_IR 192", b"M\xfcller*", "muller", True),
        (b"\\ISO 2022 IR 87 ", "山田*".encode("shift_jis"), "山田", True),
        (b"ISO_IR 144", b"\xbb\x81\xee*", "л\N{REPLACEMENT CHARACTER}ю", True),
        (b"iso_ir 192", "Müller*".encode(), "muller", False),
        (b"ISO_IR 100", b"M\0\xfcller*", "muller", False),
    ],
)
def test_a_key_asks_for_what_its_bytes_could_mean(terms, raw, meant, misread):
    query = parse_find(_in_set(terms, "PatientName", raw), b"")
    (name,) = _conditions(query)["PatientName"].names
    assert name.anywhere[0].tokens[0] == meant
    assert query.misread == (("PatientName",) if misread else ())


def test_an_unreadable_identifier_asks_for_the_one_with_these_bytes(tmp_path):
    for raw in (b"AB\xff", b"AB\xfe"):
        made = datasets.build(SpecificCharacterSet="GB18030")
        made.add_new("PatientID", "LO", raw)
        patient, *_ = HeaderReader().read(str(datasets.write(made, tmp_path / raw.hex())))
        asked = _in_set(b"GB18030 ", "PatientID", raw + b" ")
        query = parse_find(asked, b"")
        assert _conditions(query)["PatientID"] == Texts((patient["PatientID"],))
        assert query.misread == ("PatientID",)
    assert patient["PatientID"].startswith("AB\N{REPLACEMENT CHARACTER}~")
    wild = _conditions(parse_find(_in_set(b"GB18030 ", "PatientID", b"A*\xff*"), b""))
    assert [p.literal for p in wild["PatientID"].patterns] == [None]


def test_a_key_without_text_that_is_not_ascii_finds_nothing():
    query = parse_find(_in_set(b"", "PatientSex", b"\xe9"), b"")
    assert _conditions(query)["PatientSex"] == Texts(("\N{REPLACEMENT CHARACTER}",))
    assert query.misread == ("PatientSex",)


@pytest.mark.parametrize("cut", [1, 7, 9, 15])
def test_a_cut_identifier_is_not_understood(cut):
    whole = request("STUDY", PatientID="1")
    asked = QueryRequest(1, whole.sop_class_uid, whole.context, whole.identifier[:-cut])
    with pytest.raises(OperationRefused) as refused:
        parse_find(asked, b"")
    assert refused.value.status in {0xC000, 0xA900}


def test_keys_that_are_no_values_match_nothing_and_are_named():
    asked = request("STUDY", StudyTime="99-secret", StudyDate="20240101")
    for extended in (b"", b"\1\1"):
        query = parse_find(asked, extended)
        assert _conditions(query)["StudyTime"] == Nothing()
        assert query.impossible == ("StudyTime",)
    assert parse_find(request("STUDY", StudyTime="10"), b"").impossible == ()


def test_an_item_with_a_key_that_is_no_value_matches_nothing():
    item = Dataset()
    item.StudyInstanceUID = "1.2\0.3"
    asked = request("SERIES", StudyInstanceUID="1.2", RequestAttributesSequence=[item])
    assert parse_find(asked, b"").impossible == ("RequestAttributesSequence",)


def test_a_retrieve_takes_unique_keys_and_lists():
    asked = request(
        "STUDY", uids.STUDY_ROOT_MOVE, StudyInstanceUID=["1.2", "1.3"], PatientName="IGNORED"
    )
    assert _conditions(parse_retrieve(asked, b"")) == {"StudyInstanceUID": Texts(("1.2", "1.3"))}


@pytest.mark.parametrize(
    ("level", "model", "elements"),
    [
        ("STUDY", uids.STUDY_ROOT_MOVE, {}),
        ("STUDY", uids.STUDY_ROOT_GET, {"StudyInstanceUID": "*"}),
        ("PATIENT", uids.PATIENT_ROOT_GET, {"PatientID": "A*"}),
        ("SERIES", uids.STUDY_ROOT_GET, {"SeriesInstanceUID": "1.2"}),
    ],
)
def test_a_retrieve_without_its_keys_is_refused(level, model, elements):
    assert _status(level, model=model, read=parse_retrieve, **elements) == 0xA900


def test_computed_attributes_do_not_hide_indexed_ones():
    assert set(BY_KEYWORD.values()) <= set(KNOWN.values())
