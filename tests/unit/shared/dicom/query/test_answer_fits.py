"""Whether an answer fits its question, whatever the node made of the keys."""

import pytest

from draw_shared.dicom.query.answer_fits import has_meant_name, has_value, misfit

ANSWER = {
    "PatientID": "0042",
    "PatientName": "SMITH^JOHN",
    "PatientBirthDate": "19500102",
    "StudyDate": "20261101",
    "StudyTime": "101530.12",
    "ModalitiesInStudy": ["CT", "SR"],
    "StudyDescription": "Thorax native",
    "NumberOfStudyRelatedInstances": "12",
    "AccessionNumber": "",
}


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("PatientID", "0042"),
        ("PatientID", "00*"),
        ("PatientID", "7\\0042"),
        ("PatientName", "smith*"),
        ("PatientName", "Smith^J*"),
        ("PatientBirthDate", "19500102"),
        ("StudyDate", "20261001-"),
        ("StudyDate", "20261101-20261130"),
        ("StudyTime", "1015"),
        ("StudyTime", "090000-110000"),
        ("ModalitiesInStudy", "MR\\SR"),
        ("StudyDescription", "THORAX*"),
        ("NumberOfStudyRelatedInstances", "012"),
        ("AccessionNumber", ""),
        ("ReferringPhysicianName", "House*"),
    ],
)
def test_what_fits(keyword, key):
    assert misfit({keyword: key}, ANSWER) == ""


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("PatientID", "004"),
        ("PatientName", "Jones*"),
        ("PatientBirthDate", "19500103"),
        ("StudyDate", "-20261031"),
        ("StudyTime", "1016"),
        ("ModalitiesInStudy", "MR"),
        ("StudyDescription", "Abdomen*"),
        ("NumberOfStudyRelatedInstances", "13"),
        ("AccessionNumber", "A1"),
    ],
)
def test_what_does_not(keyword, key):
    assert misfit({"PatientID": "0042", keyword: key}, ANSWER) == keyword


def test_who_it_is_has_to_be_told_and_other_attributes_have_not():
    assert misfit({"PatientBirthDate": "19500102"}, {"PatientID": "0042"}) == "PatientBirthDate"
    assert misfit({"StudyDate": "20261101"}, {"StudyDate": "yesterday"}) == "StudyDate"
    assert misfit({"ModalitiesInStudy": "CT"}, {"ModalitiesInStudy": []}) == ""
    assert has_value(ANSWER, "ModalitiesInStudy")
    assert not has_value(ANSWER, "AccessionNumber")


@pytest.mark.parametrize(
    ("asked", "name", "meant"),
    [
        ("Smith*", "SMITH^JOHN", True),
        ("Smith*", "SMITH", True),
        ("Smith*", "Smith^John=\u5c71\u7530", True),
        ("Smith*", "SMITHSON^BOB", False),
        ("Smith^John*", "SMITH^JOHN^Q", True),
        ("Smith^John*", "SMITH^JOHN PAUL", True),
        ("Smith^John*", "SMITH^JOHNNY", False),
        ("Smith^J*", "SMITH^JOHN", False),
        ("Smith^*", "SMITH^JOHN", True),
        ("Smith^John", "SMITH^JOHN", True),
    ],
)
def test_a_name_that_only_begins_as_asked_is_another_name(asked, name, meant):
    assert has_meant_name({"PatientName": asked}, {"PatientName": name}) is meant
    assert has_meant_name({"PatientName": asked, "PatientID": "1"}, {"PatientName": name})
