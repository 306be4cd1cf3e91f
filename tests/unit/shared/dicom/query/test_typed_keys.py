"""What is sent to nodes for what people type, and what is refused with which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draw_shared.dicom.query.matching import parse
from draw_shared.dicom.query.typed_keys import UnclearKey, key_as_sent, one_value_each

SENT = {
    "StudyDate": {
        "": "",
        "*": "",
        "20261101": "20261101",
        " 20261101 ": "20261101",
        "2026-11-01": "20261101",
        "2026/11/1": "20261101",
        "2026.11.01": "20261101",
        "01.11.2026": "20261101",
        "1.11.2026": "20261101",
        "03.04.2026": "20260403",
        "25/12/2026": "20261225",
        "12/25/2026": "20261225",
        "12-25-2026": "20261225",
        "03/03/2026": "20260303",
        "29.02.2028": "20280229",
        "2026": "20260101-20261231",
        "2026*": "20260101-20261231",
        "2026-02": "20260201-20260228",
        "202602*": "20260201-20260228",
        "20260203*": "20260203",
        "20261101-20261130": "20261101-20261130",
        "20261101-20261101": "20261101",
        "20261101-": "20261101-",
        "-20261130": "-20261130",
        "- 30.11.2026": "-20261130",
        "01.11.2026-30.11.2026": "20261101-20261130",
        "01.11.2026 \u2013 30.11.2026": "20261101-20261130",
        "2026-11-01 to 2026-11-30": "20261101-20261130",
        "2026-11-01-2026-11-30": "20261101-20261130",
        "2026-11-01..2026-11-30": "20261101-20261130",
        "2026-10-2026-11": "20261001-20261130",
        "2025-2026": "20250101-20261231",
    },
    "StudyTime": {
        "*": "",
        "10": "100000-105959.999999",
        "10*": "100000-105959.999999",
        "1030": "103000-103059.999999",
        "10:30": "103000-103059.999999",
        "9:30": "093000-093059.999999",
        "103015": "103015-103015.999999",
        "10:30:15": "103015-103015.999999",
        "103015.25": "103015.25",
        "10:00-11:30": "100000-113059.999999",
        "1000-": "100000-",
        "-1130": "-113059.999999",
        "100000-113000.5": "100000-113000.5",
        "23:59:60": "235960-235960.999999",
    },
    "AcquisitionDateTime": {
        "20261101": "20261101",
        "20261101103000.5+0100": "20261101103000.5+0100",
        "20261101-20261130": "20261101-20261130",
        "2026-11-01 10:30": "20261101103000-20261101103059.999999",
        "01.11.2026T10:30:15.5": "20261101103015.5",
    },
    "PatientName": {
        "*": "*",
        "Smith": "Smith*",
        "Smith^John": "Smith^John",
        "Smith^J*": "Smith^J*",
        "Smith^": "Smith^*",
        "Smith, J": "Smith^J*",
        "Smith,J*": "Smith^J*",
        "Smith ,  John": "Smith^John*",
        "Smith,": "Smith^*",
        "Smith, *": "Smith^*",
        "Smith, John Paul": "Smith^John*Paul*",
        "van Dyke, Anthony": "van Dyke^Anthony*",
        "van D*": "van D*",
        "?mith": "?mith",
        "'t Hooft^Gerard": "'t Hooft^Gerard",
        "Müller, Jürgen": "Müller^Jürgen*",
        "\u5c71\u7530\uff0c\u592a\u90ce": "\u5c71\u7530^\u592a\u90ce*",
        "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce": "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
        "Adams^John^^^M.D., Ph.D.": "Adams^John^^^M.D., Ph.D.",
        "Smith, J\\Jones, K": "Smith^J*\\Jones^K*",
    },
    "ModalitiesInStudy": {"ct": "CT", "Ct\\mr": "CT\\MR", "r*": "R*", "CT ": "CT"},
    "PatientSex": {"f": "F", "*": "*", "": ""},
    "StudyInstanceUID": {"1.2.3": "1.2.3", " 1.2 \\ 1.3": "1.2\\1.3", "*": "", "**": ""},
    "PatientAge": {"45y": "045Y", "045Y": "045Y", "*": ""},
    "SeriesNumber": {"3": "3", " -1 ": "-1", "*": ""},
    "PatientWeight": {"72.5": "72.5", "1e2": "1e2"},
    "PatientID": {" P 1 ": "P 1", "P*": "P*", "1.2.3^^^X": "1.2.3^^^X"},
    "StudyDescription": {"*thorax*": "*thorax*", "a, b": "a, b", '12" film': '12" film'},
    "PatientComments": {" one\\two ": "one\\two"},
    "Rows": {"": "", "*": ""},
}
REFUSED = {
    "StudyDate": {
        "03/04/2026": "3 April or 4 March; write 2026-04-03 or 2026-03-04",
        "03-04-2026": "3 April or 4 March",
        "20260401-05/06/2026": "5 June or 6 May",
        "01.11.26": "four digits",
        "1/11/26": "four digits",
        "01112026": "is written as",
        "202611": "is written as",
        "20260231": "no such day",
        "31.11.2026": "no such day",
        "11.25.2026": "no such day",
        "25/25/2026": "no such day",
        "2026-13": "no such day",
        "2026-00-00": "no such day",
        "2026-00": "no such day",
        "20261130-20261101": "ends before it begins",
        "2026?101": "is written as",
        "20261101\\20261102": "is written as",
        "today": "is written as",
        "-": "is written as",
        "01.11-30.11.2026": "is written as",
        "2026\u066111\u066101": "is written as",
    },
    "StudyTime": {
        "930": "is written as",
        "10.30": "is written as",
        "10:30 pm": "is written as",
        "25:00": "no such time",
        "10:60": "no such time",
        "22:00-06:00": "ends before it begins",
        "10\\11": "is written as",
    },
    "AcquisitionDateTime": {"now": "are written as", "2026 10:30": "are written as"},
    "PatientName": {
        "John Smith": "Smith, John or Smith^John",
        "van Dyke": "van Dyke^*",
        '"Smith"': "quotation marks",
        '"Smith, J"': "quotation marks",
        "\u201eSmith\u201c": "quotation marks",
        "Jones\\ 'Smith'": "quotation marks",
        "Smith, John, Dr": "one comma",
        ", John": "one comma",
    },
    "ModalitiesInStudy": {"CT,MR": "backslash", "CT; MR": "backslash", "CT\u00c4": "A to Z"},
    "PatientSex": {"female": "M, F or O"},
    "StudyInstanceUID": {
        "1.2.*": "no wildcard",
        "1.2.?": "no wildcard",
        "1.2.x": "digits and dots",
        "1..2": "digits and dots",
        "1.2,1.3": "digits and dots",
        "1" * 65: "at most 64",
    },
    "PatientID": {'"P1"': "quotation marks", '""': "quotation marks"},
    "PatientAge": {"45": "045Y"},
    "SeriesNumber": {"3*": "no wildcard", "1-5": "no range", "three": "number", "1,5": "number"},
    "PatientWeight": {"72,5": "a point"},
    "Rows": {"512": "leave it empty"},
}


def cases(table):
    return [
        (keyword, typed, table[keyword][typed]) for keyword in table for typed in table[keyword]
    ]


@pytest.mark.parametrize(("keyword", "typed", "sent"), cases(SENT))
def test_what_means_one_thing_is_sent_as_nodes_compare_it(keyword, typed, sent):
    assert key_as_sent(keyword, typed) == sent
    assert key_as_sent(keyword, sent) == sent


@pytest.mark.parametrize(("keyword", "typed", "words"), cases(REFUSED))
def test_what_means_nothing_or_two_things_is_refused_in_words(keyword, typed, words):
    with pytest.raises(UnclearKey) as refused:
        key_as_sent(keyword, typed)
    assert words in str(refused.value)


def test_only_attributes_have_keys():
    with pytest.raises(LookupError):
        key_as_sent("Nonsense", "x")


@given(
    st.sampled_from(["DA", "TM"]),
    st.text("0123456789.-/:* to", max_size=24),
)
def test_what_is_sent_is_what_our_own_matching_understands(vr, typed):
    keyword = {"DA": "StudyDate", "TM": "StudyTime"}[vr]
    try:
        sent = key_as_sent(keyword, typed)
    except UnclearKey:
        return
    parse(vr, sent)
    assert key_as_sent(keyword, sent) == sent


@given(st.sampled_from(["PatientName", "PatientID", "Modality", "StudyInstanceUID"]), st.text())
def test_whatever_is_typed_is_answered_and_what_is_sent_stays(keyword, typed):
    try:
        sent = key_as_sent(keyword, typed)
    except UnclearKey:
        return
    assert key_as_sent(keyword, sent) == sent


def test_keys_of_several_values_are_asked_one_by_one_except_uids():
    keys = {"PatientID": "A\\B", "ModalitiesInStudy": ["CT", "MR"], "StudyInstanceUID": "1.2\\1.3"}
    asked = one_value_each(keys)
    assert [(q["PatientID"], q["ModalitiesInStudy"]) for q in asked] == [
        ("A", "CT"), ("A", "MR"), ("B", "CT"), ("B", "MR"),
    ]  # fmt: skip
    assert {q["StudyInstanceUID"] for q in asked} == {"1.2\\1.3"}
    assert one_value_each({"StudyDate": "20260101-", "PatientID": ""}) == [
        {"StudyDate": "20260101-", "PatientID": ""}
    ]
    with pytest.raises(UnclearKey):
        one_value_each({"PatientID": "\\".join("ABCDEFGHIJK"), "StudyID": "\\".join("ABCDEFGHIJ")})
