"""Answers as bytes, read back with pydicom in each transfer syntax and character set."""

import json

import pytest
from pydicom.dataset import Dataset

from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.query.answers import Answers, encode_failed_list
from draw_shared.dicom.query.query import Constant, parse_find
from support.identifiers import decoded, request

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)
CONSTANTS = {Constant.RETRIEVE_AE_TITLE: b"DRAW_SCP", Constant.INSTANCE_AVAILABILITY: b"ONLINE"}


def _answer(values, syntax=IMPLICIT_LITTLE, level="STUDY", **elements):
    query = parse_find(request(level, syntax=syntax, **elements), b"\1")
    row = [values.get(attribute.keyword, "").encode() or None for attribute in query.columns]
    return decoded(Answers(query, syntax, CONSTANTS).encode(row), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_elements_of_every_kind(syntax):
    item = Dataset()
    item.RequestedProcedureID = ""
    held = [{"RequestedProcedureID": "RP1"}, {"RequestedProcedureID": "RP-2"}]
    found = _answer(
        {"Rows": "512", "StudyInstanceUID": "1.2.3", "StudyDate": "20240102",
         "RequestAttributesSequence": json.dumps(held), "PatientComments": "x" * 3001},
        syntax, "IMAGE", Rows=None, StudyInstanceUID="", StudyDate="", PatientComments="",
        InstanceAvailability="", RequestAttributesSequence=[item], InterpretationAuthor="",
    )  # fmt: skip
    assert found.Rows == 512
    assert found.StudyInstanceUID == "1.2.3"
    assert found.StudyDate == "20240102"
    assert found.QueryRetrieveLevel == "IMAGE"
    assert found.RetrieveAETitle == "DRAW_SCP"
    assert found.InstanceAvailability == "ONLINE"
    assert [i.RequestedProcedureID for i in found.RequestAttributesSequence] == ["RP1", "RP-2"]
    assert found.PatientComments == "x" * 3001
    assert not found.InterpretationAuthor
    assert list(found.keys()) == sorted(found.keys())


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO_IR 100", "Smith^John", None),
        ("ISO_IR 100", "Люксембург", "ISO_IR 192"),
        ("ISO_IR 144", "Люксембург", "ISO_IR 144"),
        ("GB18030", "Wang=王^小东", "GB18030"),
        (["", "ISO 2022 IR 87"], "Yamada=山田^太郎", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 149"], "Hong=洪^吉洞=홍", ["", "ISO 2022 IR 149"]),
        (["", "ISO 2022 IR 87"], "Müller", "ISO_IR 192"),
        (None, "Müller", "ISO_IR 192"),
        ("ISO_IR 192", "Müller", "ISO_IR 192"),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_names_come_in_the_requesters_set_if_it_holds_them(asked, name, answered, syntax):
    terms = {} if asked is None else {"SpecificCharacterSet": asked}
    found = _answer({"PatientName": name}, syntax, PatientName="", **terms)
    assert found.PatientName == name
    assert found.get("SpecificCharacterSet") == answered


def test_one_value_too_many_for_the_set_turns_all_of_the_answer():
    found = _answer(
        {"PatientName": "Müller", "StudyDescription": "Люкс"},
        SpecificCharacterSet="ISO_IR 100", PatientName="", StudyDescription="",
    )  # fmt: skip
    assert (found.PatientName, found.StudyDescription) == ("Müller", "Люкс")
    assert found.SpecificCharacterSet == "ISO_IR 192"


def test_text_in_items_follows_the_same_set():
    item = Dataset()
    item.RequestedProcedureDescription = ""
    found = _answer(
        {"RequestAttributesSequence": json.dumps([{"RequestedProcedureDescription": "Schädel"}])},
        level="SERIES", SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=[item],
    )  # fmt: skip
    assert found.SpecificCharacterSet == "ISO_IR 100"
    assert found.RequestAttributesSequence[0].RequestedProcedureDescription == "Schädel"


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("count", [1, 3, 5000])
def test_failed_uids_of_any_number(syntax, count):
    uids = [f"1.2.840.113619.2.{number}" for number in range(count)]
    found = decoded(encode_failed_list(uids, syntax), syntax).FailedSOPInstanceUIDList
    if isinstance(found, bytes):
        # Longer than an explicit UI can be: UN (PS3.5 6.2.2).
        found = found.decode().rstrip("\0").split("\\")
    assert ([found] if isinstance(found, str) else list(found)) == uids


def test_no_failure_is_no_identifier():
    assert encode_failed_list([], IMPLICIT_LITTLE) == b""
