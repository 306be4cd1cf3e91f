"""When two names and birth dates are two people."""

import pytest

from draw_shared.dicom.encoding.persons import Person, are_several

BORN, OTHER = "19600102", "19710304"


def person(name, born=BORN):
    return Person.from_texts({"PatientName": name, "PatientBirthDate": born})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DOE^JOHN", "SMITH^JANE"),
        ("DOE^JOHN", "DOE^JANE"),
        ("Yamada^Tarou=山田^太郎", "Suzuki^Tarou=鈴木^太郎"),
        ("王^小东", "张^小东"),
    ],
)
def test_another_name_and_another_birth_date_are_two_people(one, other):
    assert are_several([person(one), person(other, OTHER)])
    assert not are_several([person(one), person(other)])
    assert not are_several([person(one), person(one, OTHER)])
    assert not are_several([person(one), person(other, "")])
    assert not are_several([person(one), person("", OTHER)])


@pytest.mark.parametrize(
    "spelling",
    [
        "doe^john", "Doe^John^^^", "DOE^JOHN^", "DOE JOHN", "Doe, John", "DOE^JOHN^M^^", "JOHN^DOE",
        "Döe^John", "DOE", "Doe^John=山田^太郎", "=山田^太郎", "Other^Name=山田^太郎", "D'oe^John",
    ],
)  # fmt: skip
def test_a_name_in_another_form_is_no_other_person(spelling):
    assert not are_several([person("DOE^JOHN=山田^太郎"), person(spelling, OTHER)])


def test_two_of_many_are_enough():
    same = [person("DOE^JOHN", f"19600{n}01") for n in range(1, 9)]
    assert not are_several(same)
    assert are_several([*same, person("SMITH^JANE", "19991231")])


def test_what_is_kept_is_read_again():
    stated = Person.from_texts(
        {"PatientName": "A\tB\n^C", "PatientBirthDate": "1960.01.02", "PatientSex": "F"}
    )
    assert Person.parse(f"{stated.text}\tP\t1") == (Person("1960-01-02", "F", "A B ^C"), "P\t1")
