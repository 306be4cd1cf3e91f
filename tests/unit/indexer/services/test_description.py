"""What rows above objects say: each attribute from the object that goes first.

Not covered here: PostgreSQL's part, see the integration tests.
"""

import itertools

import pytest

from draw_indexer.services.description import Description, value_of
from draw_shared.dicom.encoding.search_text import MAX_SEARCH_BYTES
from draw_shared.dicom.query.keys import BY_KEYWORD, Level


def earliest(one, other):
    return one < other


def latest(one, other):
    return one > other


def described(level, before, *said, row=None):
    description = Description(level, before, row)
    for source, texts in said:
        description.add(source, texts)
    return description


STUDY = [
    ("t1", {"StudyDescription": "one", "StudyID": "1"}),
    ("t2", {"StudyDescription": "two", "AccessionNumber": "A2"}),
    ("t3", {"StudyDate": "20200101", "StudyID": "3", "AccessionNumber": "A3"}),
]


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (earliest, ("one", "1", "A2")),
        (latest, ("two", "3", "A3")),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_each_attribute_is_from_the_object_that_goes_first(before, expected, order):
    row = described(Level.STUDY, before, *(STUDY[n] for n in order)).row()
    assert (row["description"], row["study_id"], row["accession_number"]) == expected
    assert row["study_date"] == "2020-01-01"


def test_sources_name_the_commonest_object_once():
    row = described(Level.STUDY, earliest, *STUDY).row()
    assert row["sources"] == {"": "t1", "AccessionNumber": "t2", "StudyDate": "t3"}


@pytest.mark.parametrize("before", [earliest, latest])
@pytest.mark.parametrize("order", ORDERS)
def test_a_row_read_back_goes_on_as_if_nothing_had_happened(before, order):
    said = [STUDY[n] for n in order]
    whole = described(Level.STUDY, before, *said).row()
    again = described(Level.STUDY, before, *said[:1]).row()
    for one in said[1:]:
        again = described(Level.STUDY, before, one, row=again).row()
    assert again == whole


def test_a_row_is_changed_only_by_what_goes_before():
    row = described(Level.STUDY, earliest, STUDY[0]).row()
    assert not described(Level.STUDY, earliest, row=row).changed
    assert not described(Level.STUDY, earliest, ("t9", {"StudyID": "9"}), row=row).changed
    assert described(Level.STUDY, earliest, ("t9", {"AccessionNumber": "9"}), row=row).changed
    assert described(Level.STUDY, earliest, ("t0", {"StudyID": "0"}), row=row).changed


def test_parents_are_decided_like_attributes():
    description = Description(Level.STUDY, earliest)
    assert description.parent("PatientID") is None
    description.add_parent("PatientID", "t2", "P2")
    description.add_parent("PatientID", "t3", "P3")
    assert description.parent("PatientID") == "P2"
    description.add_parent("PatientID", "t1", "P1")
    assert description.parent("PatientID") == "P1"
    assert description.row()["sources"] == {"": "t1"}


def test_two_rows_become_one():
    one = described(Level.PATIENT, earliest, ("t2", {"PatientName": "B", "PatientSex": "F"}))
    other = described(Level.PATIENT, earliest, ("t1", {"PatientName": "A"}))
    other.absorb(one)
    assert (other.row()["name"], other.row()["sex"]) == ("A", "F")


def test_request_attributes_are_one_value():
    said = [("t2", {"RequestAttributesSequence": [{"AccessionNumber": "2"}]})]
    row = described(Level.SERIES, earliest, *said).row()
    assert row["request_attributes"] == [{"AccessionNumber": "2"}]
    first = ("t1", {"RequestAttributesSequence": [{"AccessionNumber": "1"}]})
    row = described(Level.SERIES, earliest, first, row=row).row()
    assert row["request_attributes"] == [{"AccessionNumber": "1"}]
    assert described(Level.SERIES, earliest).row()["request_attributes"] == []


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("StudyDate", "2004.01.19", ("2004-01-19", "", None)),
        ("StudyDate", "19 Jan", (None, "", "19 Jan")),
        ("StudyTime", "10:20:30", ("10:20:30", "", None)),
        ("StudyTime", "102030.1234567", ("10:20:30.123456", "", "102030.1234567")),
        ("StudyTime", "25", (None, "", "25")),
        ("SeriesNumber", "+007", (7, "", None)),
        ("SeriesNumber", "1_0", (None, "", "1_0")),
        ("SeriesNumber", "1.0", (None, "", "1.0")),
        ("SeriesNumber", "99999999999", (None, "", "99999999999")),
        ("SeriesNumber", "\u0667", (None, "", "\u0667")),
        ("PatientName", "Müller^J=", ("Müller^J=", "=muller^j=", None)),
        ("StudyDescription", "Thorax ÖP", ("Thorax ÖP", "thorax op", None)),
        ("Manufacturer", "ACME", (None, "", "ACME")),
    ],
)
def test_values_in_columns_and_documents(keyword, text, expected):
    assert tuple(value_of(BY_KEYWORD[keyword], text)) == expected


def test_search_text_fits_into_an_index():
    value = value_of(BY_KEYWORD["PatientName"], "ﷺ" * 512)
    assert len(value.search.encode()) <= MAX_SEARCH_BYTES
