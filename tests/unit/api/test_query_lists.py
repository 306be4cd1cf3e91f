"""What a list of questions asks: a column for each key, a line for each query."""

import pytest

from draw_api.models.batch_queries import MAX_LINES
from draw_api.services.list_columns import keyword_of
from draw_api.services.query_lists import query_list_of_csv, query_list_of_keys
from draw_shared.contracts.failures import Invalid


def asked(text):
    return [(line.number, dict(line.keys)) for line in query_list_of_csv(text.encode()).lines]


def problems(text):
    with pytest.raises(Invalid) as caught:
        query_list_of_csv(text.encode())
    return {p.field: p.message for p in caught.value.problems}


def test_each_column_is_a_key_and_each_line_a_query():
    text = "sep=;\nPatient ID;StudyDate;Modality;Remark\n0042;20260101-;CT;a\n;;MR;b\n0043;;;c\n"
    assert asked(text) == [
        (3, {"PatientID": "0042", "StudyDate": "20260101-", "ModalitiesInStudy": "CT"}),
        (4, {"ModalitiesInStudy": "MR"}),
        (5, {"PatientID": "0043"}),
    ]
    found = query_list_of_csv(text.encode())
    assert found.columns == ["PatientID", "StudyDate", "ModalitiesInStudy"]
    assert found.ignored == ["Remark"]


def test_study_uids_need_no_heading():
    assert asked("1.2.3\n1.2.4\n") == [
        (1, {"StudyInstanceUID": "1.2.3"}),
        (2, {"StudyInstanceUID": "1.2.4"}),
    ]


def test_what_is_asked_twice_is_asked_once():
    found = query_list_of_csv(b"PatientID;AccessionNumber\n1;\n;1\n1;\n1;\n")
    assert [line.number for line in found.lines] == [2, 3]
    assert found.repeated == 2


@pytest.mark.parametrize(
    ("title", "keyword"),
    [
        ("PatientID", "PatientID"),
        ("patient's name", "PatientName"),
        ("(0010,0030)", "PatientBirthDate"),
        ("00081030", "StudyDescription"),
        ("Modality", "ModalitiesInStudy"),
        ("InstitutionName", "InstitutionName"),
        ("institution name", ""),
        # Keywords of attributes too, but to people something else.
        ("Date", ""),
        ("Name", ""),
        ("Comments", ""),
        ("Status", ""),
        ("00000010", ""),
        ("AffectedSOPClassUID", ""),
    ],
)
def test_headings_mean_attributes(title, keyword):
    assert keyword_of(title) == keyword


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("Remark\nx\n", "line 1", "PatientID"),
        ("SeriesInstanceUID\n1.2\n", "line 1", "below"),
        ("PatientID;StudyDate\n1;\n*;\n", "line 3", "everything"),
        ("PatientID;PatientName\n1;\n;^\n", "line 3", "everything"),
        ("Name;PatientID\nx;1.2E+14\n", "line 2, column PatientID", "shortened"),
        ("AccessionNumber\n03. Apr\n", "line 2, column AccessionNumber", "date"),
        ("PatientID\n", "body", "no line below"),
        ("PatientID;Study Date\n1;03/04/2026\n", "line 2, column Study Date", "2026"),
        ("StudyInstanceUID\n1.2\nnonsense\n", "line 3, column StudyInstanceUID", "UID"),
    ],
)
def test_what_cannot_be_asked_is_named(text, field, words):
    found = problems(text)
    assert list(found) == [field]
    assert words in found[field]


def test_dates_are_keys_and_not_damaged_identifiers():
    assert asked("StudyDate\n20260102\n") == [(2, {"StudyDate": "20260102"})]


def test_values_are_put_right_as_in_any_query():
    text = 'Study Date;Patient Name\n01.11.2026;\n2026-11-01;\n;"Smith, J"\n'
    assert asked(text) == [(2, {"StudyDate": "20261101"}), (4, {"PatientName": "Smith^J*"})]


def test_more_lines_than_a_node_should_be_asked_are_refused():
    text = "PatientID\n" + "".join(f"A{n}\n" for n in range(MAX_LINES + 1))
    assert f"more than {MAX_LINES}" in problems(text)["body"]


def test_programs_ask_by_keyword():
    found = query_list_of_keys([{"PatientID": "1", "StudyDate": ""}, {"AccessionNumber": "A*"}])
    assert [(line.number, dict(line.keys)) for line in found.lines] == [
        (1, {"PatientID": "1"}),
        (2, {"AccessionNumber": "A*"}),
    ]
    assert found.columns == ["PatientID", "AccessionNumber"]
    with pytest.raises(Invalid) as caught:
        query_list_of_keys([{"PatientID": "1"}, {"Nonsense": "1"}, {}, {"SOPInstanceUID": "1.2"}])
    assert [p.field for p in caught.value.problems] == [
        "lines.1",
        "lines.2",
        "lines.3.SOPInstanceUID",
    ]
    assert "Nonsense" in caught.value.problems[0].message
