"""What a list of studies, series, instances, patients and accession numbers asks for.

Encodings, separators and damaged values are covered by test_csv_lists.
"""

import pytest

from draw_api.models.jobs import MAX_INSTANCES
from draw_api.services.retrieve_lists import list_of_csv
from draw_shared.contracts.failures import Invalid


def uids(text):
    return [item.study_instance_uid for item in list_of_csv(text).items]


@pytest.mark.parametrize(
    "text",
    [
        b"StudyInstanceUID\n1.2.3\n1.2.4\n",
        b"\xef\xbb\xbfPatient;Study Instance UID;Date\r\nX;1.2.3;today\r\nY;1.2.4;\r\n",
        b"study_instance_uid\tname\n1.2.3\t\xe4\n1.2.4\tb\n",
        b'"Study UID","Name"\n"1.2.3","a, b"\n"1.2.4",""\n',
        b"1.2.3\n1.2.4\n",
        b"\n\n1.2.3\n\n1.2.3\n1.2.4",
    ],
)
def test_lists_of_studies_are_understood(text):
    assert uids(text) == ["1.2.3", "1.2.4"]


def test_instances_of_one_series_become_one_item():
    text = b"StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID\n"
    text += b"".join(b"1.2,1.2.%d,1.2.%d.%d\n" % (s, s, n) for n in range(3) for s in (1, 2))
    items = list_of_csv(text).items
    assert [item.series_instance_uid for item in items] == ["1.2.1", "1.2.2"]
    assert items[0].sop_instance_uids == ["1.2.1.0", "1.2.1.1", "1.2.1.2"]


def test_an_item_of_a_list_has_no_more_instances_than_one_of_a_document():
    lines = "".join(f"1.2,1.3,1.4.{n}\n" for n in range(MAX_INSTANCES + 1))
    with pytest.raises(Invalid) as caught:
        list_of_csv(f"StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID\n{lines}".encode())
    assert caught.value.problems[0].field == "line 2"


def test_patients_and_accession_numbers_are_understood():
    [first, second] = list_of_csv(b"Patient ID,Accession Number\nP1,\n,A2\n").items
    assert (first.patient_id, second.accession_number) == ("P1", "A2")


def test_each_line_that_is_wrong_is_named():
    with pytest.raises(Invalid) as caught:
        list_of_csv(b"StudyInstanceUID,SOPInstanceUID\n1.2.3,\nnonsense,\n1.2,1.2.9\n")
    problems = [(p.field, p.message) for p in caught.value.problems]
    assert [field for field, _ in problems] == ["line 3, column StudyInstanceUID", "line 4"]
    assert problems[0][1] == "nonsense is not a UID: a UID has digits and single dots between them"
    assert "Series Instance UID" in problems[1][1]
