"""Where the bytes of an answer could go wrong: lengths, padding, order, sets per answer.

Not covered: values and character sets of ordinary answers (test_answers).
"""

import json

import pytest
from pydicom.dataset import Dataset

from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.query.answers import Answers
from draw_shared.dicom.query.keys import REQUEST_ATTRIBUTE_KEYWORDS
from draw_shared.dicom.query.query import Constant, parse_find
from support.identifiers import decoded, request

CONSTANTS = {Constant.RETRIEVE_AE_TITLE: b"DRAW", Constant.INSTANCE_AVAILABILITY: b"ONLINE"}


@pytest.fixture(params=[IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
def syntax(request):
    """Each transfer syntax in which an identifier may be."""
    return request.param


def _encoded(syntax, level, values, **asked):
    query = parse_find(request(level, syntax=syntax, **asked), b"\1")
    row = [values.get(column.keyword, "").encode() or None for column in query.columns]
    return Answers(query, syntax, CONSTANTS).encode(row)


def _answer(syntax, level, values, **asked):
    return decoded(_encoded(syntax, level, values, **asked), syntax)


def test_numbers_and_lists(syntax):
    values = {"Columns": "65535", "InstanceNumber": "-7", "ImageType": "ORIGINAL\\PRIMARY"}
    found = _answer(syntax, "IMAGE", values, Columns=None, InstanceNumber="", ImageType="")
    assert (found.Columns, found.InstanceNumber) == (65535, -7)
    assert list(found.ImageType) == ["ORIGINAL", "PRIMARY"]


def test_odd_values_are_padded_as_their_vr_wants(syntax):
    values = {"PatientName": "odd", "SeriesInstanceUID": "1.2", "Modality": "CT1"}
    raw = _encoded(syntax, "SERIES", values, PatientName="", SeriesInstanceUID="", Modality="")
    assert b"1.2\0" in raw
    assert b"odd " in raw
    assert b"CT1 " in raw


@pytest.mark.parametrize("length", [1022, 1023, 1024, 1025, 65533, 65534])
def test_long_values_are_whole(syntax, length):
    values = {"AccessionNumber": "a" * length}
    assert _answer(syntax, "STUDY", values, AccessionNumber="").AccessionNumber == "a" * length


def test_a_value_too_long_for_its_length_leaves_the_rest_readable(syntax):
    values = {"AccessionNumber": "a" * 70_001, "PatientID": "after"}
    found = _answer(syntax, "STUDY", values, AccessionNumber="", PatientID="")
    assert found.PatientID == "after"
    assert len(found.AccessionNumber) == (70_001 if syntax == IMPLICIT_LITTLE else 65_534)


@pytest.mark.parametrize(
    ("terms", "text"),
    [("ISO_IR 126", "Διονυσιος"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう")],
)
def test_greek_and_all_groups_of_a_japanese_name(syntax, terms, text):
    found = _answer(
        syntax, "STUDY", {"PatientName": text}, PatientName="", SpecificCharacterSet=terms
    )
    assert (found.SpecificCharacterSet, found.PatientName) == (terms, text)


def test_each_answer_has_a_set_of_its_own(syntax):
    asked = request("STUDY", syntax=syntax, PatientName="", SpecificCharacterSet="ISO_IR 100")
    answers = Answers(parse_find(asked, b"\1"), syntax, CONSTANTS)
    names = ["Ascii", "Jérôme", "山田", "Ascii"]
    found = [decoded(answers.encode([name.encode()]), syntax) for name in names]
    sets = [one.get("SpecificCharacterSet") for one in found]
    assert sets == [None, "ISO_IR 100", "ISO_IR 192", None]
    assert [str(one.PatientName) for one in found] == names


def test_an_empty_sequence_key_asks_for_all_that_is_known_of_items(syntax):
    held = json.dumps([{"AccessionNumber": "A1"}, {"RequestedProcedureID": "P"}])
    values = {"RequestAttributesSequence": held}
    found = _answer(syntax, "SERIES", values, RequestAttributesSequence=[])
    first, second = found.RequestAttributesSequence
    assert (first.AccessionNumber, second.RequestedProcedureID) == ("A1", "P")
    assert all(keyword in first for keyword in REQUEST_ATTRIBUTE_KEYWORDS)


def test_items_hold_only_what_was_asked_for(syntax):
    wanted = Dataset()
    wanted.AccessionNumber = ""
    held = json.dumps([{"RequestedProcedureID": "P", "AccessionNumber": "A1"}])
    values = {"RequestAttributesSequence": held}
    found = _answer(syntax, "SERIES", values, RequestAttributesSequence=[wanted])
    (item,) = found.RequestAttributesSequence
    assert (item.AccessionNumber, len(item)) == ("A1", 1)


def test_a_sequence_without_items_is_empty(syntax):
    found = _answer(syntax, "SERIES", {}, RequestAttributesSequence=[])
    assert len(found.RequestAttributesSequence) == 0
