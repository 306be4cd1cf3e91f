"""Objects and people in conflict, over REST and on the page, as an indexer has made them.

When a patient is several people, and which version is current, is covered with the indexer.
"""

import re
from copy import deepcopy

import pytest
from pydicom.uid import generate_uid

from support import datasets
from support.indexed import IndexedStorage
from support.receptions import same_instance
from support.suite import all_pages

pytestmark = pytest.mark.integration

SCRIPT = "<script>alert(1)</script>"
JOHN = {"PatientName": "Doe^John", "PatientBirthDate": "19600102", "PatientSex": "M"}
JANE = {"PatientName": "Smith^Jane", "PatientBirthDate": "19710304", "PatientSex": "F"}
SHOWN_JOHN = {"name": "Doe^John", "birth_date": "1960-01-02", "sex": "M"}
SHOWN_JANE = {"name": "Smith^Jane", "birth_date": "1971-03-04", "sex": "F"}


@pytest.fixture(scope="module")
def archive(shared_api):
    made = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    yield made
    made.close()


@pytest.fixture(scope="module")
def admin(shared_api):
    return shared_api.of_role("admin")


def elsewhere(made, **elements):
    """Return the object as it comes again, with these elements."""
    again = deepcopy(made)
    for keyword, value in elements.items():
        setattr(again, keyword, value)
    return again


def get(client, path, **parameters):
    return client.get(f"/api/v1/{path}", params=parameters).raise_for_status().json()


def conflicts(client, study="", **parameters):
    if study:
        parameters["study_instance_uid"] = study
    return all_pages(client, "/api/v1/conflicts", **parameters)


def kinds(client, study):
    return [one["kind"] for one in conflicts(client, study)]


def page(client, path, **parameters):
    return client.get(path, params=parameters).raise_for_status().text


# --- objects --------------------------------------------------------------------------


@pytest.fixture
def both(archive):
    """Two studies, and an object of the first that came again under the second."""
    first, second = datasets.build(PatientID="BOTH"), datasets.build(PatientID="BOTH")
    archive.receive(first, second)
    archive.receive(elsewhere(first, StudyInstanceUID=second.StudyInstanceUID))
    return first, second


def test_an_object_that_came_again_under_another_study_is_a_conflict_of_both(admin, both):
    first, second = both
    [found] = conflicts(admin, first.StudyInstanceUID)
    assert conflicts(admin, second.StudyInstanceUID) == [found]
    assert found["kind"] == "another_study"
    assert found["sop_instance_uid"] == first.SOPInstanceUID
    assert found["study_instance_uid"] == second.StudyInstanceUID
    assert found["current_study_instance_uid"] == first.StudyInstanceUID
    assert (found["current"], found["study_indexed"]) == (False, True)
    assert (found["calling_ae"], found["patient_id"]) == ("SENDER", "BOTH")
    for here, there in (both, both[::-1]):
        shown = page(admin, f"/studies/{here.StudyInstanceUID}")
        assert "this one" in shown
        assert f'href="/studies/{there.StudyInstanceUID}"' in shown
    assert f'href="/studies/{first.StudyInstanceUID}"' in page(admin, "/conflicts")


def test_a_study_of_which_all_is_set_aside_is_listed_without_a_way_to_it(admin, archive):
    made = datasets.build()
    other = generate_uid()
    archive.receive(made)
    archive.receive(elsewhere(made, StudyInstanceUID=other))
    [found] = conflicts(admin, other)
    assert conflicts(admin, made.StudyInstanceUID) == [found]
    assert found["study_indexed"] is False
    shown = page(admin, "/conflicts", study_instance_uid=other)
    assert other in shown
    assert f'href="/studies/{other}"' not in shown


def test_a_series_that_lies_in_another_study_is_a_conflict_of_both(admin, archive):
    first = datasets.build(PatientID="MOVED")
    other = datasets.build(PatientID="MOVED", SeriesInstanceUID=first.SeriesInstanceUID)
    whole = datasets.build(PatientID="MOVED", StudyInstanceUID=other.StudyInstanceUID)
    archive.receive(first)
    archive.receive(other, whole)
    [found] = conflicts(admin, first.StudyInstanceUID)
    assert conflicts(admin, other.StudyInstanceUID) == [found]
    assert (found["kind"], found["current"]) == ("another_study", True)
    assert found["current_study_instance_uid"] == first.StudyInstanceUID


def test_other_bytes_and_another_patient_are_conflicts_of_their_study(admin, archive):
    first = datasets.build(PatientID="MINE")
    archive.receive(first)
    archive.receive(same_instance(first, StudyDescription="other bytes"))
    study = first.StudyInstanceUID
    foreign = datasets.build(PatientID=f"A{SCRIPT}", StudyInstanceUID=study)
    archive.receive(foreign)
    named, other = conflicts(admin, study)
    assert (other["kind"], other["current"]) == ("another_object", False)
    assert (named["kind"], named["current"]) == ("another_patient", True)
    assert (named["stated_patient"], named["patient_id"]) == (f"A{SCRIPT}", "MINE")
    for kind, expected in (("another_object", other), ("another_patient", named)):
        assert conflicts(admin, study, kind=kind) == [expected]
        shown = page(admin, "/conflicts", study_instance_uid=study, kind=kind)
        assert shown.count("<tr>") == 2 + shown.count("/studies?patient_id=")
    assert conflicts(admin, study, kind="another_study") == []
    shown = page(admin, f"/studies/{study}")
    assert SCRIPT not in shown
    assert "A&lt;script&gt;" in shown


def test_pages_of_conflicts_have_each_once_last_found_first(admin, archive):
    made = datasets.series(5)
    archive.receive(*made)
    again = [same_instance(one, StudyDescription="other") for one in made]
    for one in again:
        archive.receive(one)
    expected = [str(one.SOPInstanceUID) for one in reversed(again)]
    study = made[0].StudyInstanceUID
    for asked in ({}, {"kind": "another_object"}):
        for limit in (1, 2, 5, 500):
            found = conflicts(admin, study, limit=limit, **asked)
            assert [one["sop_instance_uid"] for one in found] == expected
            everywhere = conflicts(admin, limit=limit, **asked)
            assert [one for one in everywhere if one in found] == found


def test_what_is_no_kind_study_or_cursor_is_refused(admin):
    for wrong in ({"kind": "x"}, {"study_instance_uid": "1.x"}, {"cursor": "x"}, {"study": "1"}):
        answer = admin.get("/api/v1/conflicts", params=wrong)
        assert answer.status_code == 422, wrong
    assert "No conflict matches" in page(admin, "/conflicts", study_instance_uid="1.x")


# --- people ---------------------------------------------------------------------------


@pytest.fixture
def people(archive):
    """Return the studies of two people under one Patient ID, and that identifier."""
    patient = generate_uid()
    studies = []
    for whom in (JOHN, JANE):
        made = datasets.build(PatientID=patient, **whom)
        archive.receive(made)
        studies.append(str(made.StudyInstanceUID))
    return (*studies, patient)


def named(client, **parameters):
    """Return by study whom it shows."""
    return {
        one["study_instance_uid"]: {key: one["patient"][key] for key in SHOWN_JOHN}
        for one in all_pages(client, "/api/v1/studies", **parameters)
    }


def test_both_people_are_listed_as_one_ambiguous_patient(admin, people):
    _, _, patient = people
    [found] = get(admin, "patients", ambiguous=True, patient_id=patient)["items"]
    assert found["ambiguous"] is True
    assert found["name"] == "Doe^John"
    assert found["persons"] == [SHOWN_JOHN, SHOWN_JANE]
    assert get(admin, "patients", ambiguous=False, patient_id=patient)["items"] == []
    [asked] = get(admin, "patients", name="smith", patient_id=patient)["items"]
    assert asked == found | {"persons": [SHOWN_JANE, SHOWN_JOHN]}
    assert get(admin, "patients", name="roe", patient_id=patient)["items"] == []
    [usage] = [
        one for one in all_pages(admin, "/api/v1/storage/patients") if one["patient_id"] == patient
    ]
    assert usage["ambiguous"] is True


def test_each_study_is_found_by_and_shown_with_its_own_name(admin, people):
    john, jane, patient = people
    assert named(admin, patient_id=patient) == {john: SHOWN_JOHN, jane: SHOWN_JANE}
    assert named(admin, patient_id=patient, patient_name="doe") == {john: SHOWN_JOHN}
    assert named(admin, patient_id=patient, patient_name="Smith") == {jane: SHOWN_JANE}
    days = {"date_from": "2026-01-02", "date_to": "2026-01-02"}
    assert named(admin, patient_id=patient, patient_name="SMITH", **days) == {jane: SHOWN_JANE}
    for study, shown in ((john, SHOWN_JOHN), (jane, SHOWN_JANE)):
        of_study = get(admin, f"studies/{study}")["patient"]
        assert of_study == shown | {
            "id": of_study["id"],
            "patient_id": patient,
            "issuer_of_patient_id": "",
            "ambiguous": True,
            "persons": [shown],
        }


def test_a_study_of_both_is_found_by_either_and_names_both(admin, archive, people):
    _, _, patient = people
    both = datasets.build(PatientID=patient, **JANE)
    archive.receive(both)
    of_both = both.StudyInstanceUID
    archive.receive(datasets.build(PatientID=patient, StudyInstanceUID=of_both, **JOHN))
    assert named(admin, patient_id=patient, patient_name="doe")[of_both] == SHOWN_JOHN
    assert named(admin, patient_id=patient, patient_name="smith")[of_both] == SHOWN_JANE
    of_study = get(admin, f"studies/{of_both}")["patient"]
    assert of_study["persons"] == [SHOWN_JOHN, SHOWN_JANE]


def test_a_corrected_name_finds_all_studies_and_is_no_mark(admin, archive):
    patient = generate_uid()
    first = datasets.build(PatientID=patient, **JOHN)
    other = datasets.build(PatientID=patient, **JOHN | {"PatientName": "Roe^John"})
    archive.receive(first)
    archive.receive(other)
    for name in ("doe", "ROE"):
        found = named(admin, patient_id=patient, patient_name=name)
        assert found == dict.fromkeys((first.StudyInstanceUID, other.StudyInstanceUID), SHOWN_JOHN)
        [held] = get(admin, "patients", name=name, patient_id=patient)["items"]
        assert (held["ambiguous"], held["persons"]) == (False, [])
    of_study = get(admin, f"studies/{other.StudyInstanceUID}")["patient"]
    assert of_study["persons"] == [SHOWN_JOHN | {"name": "Roe^John"}]
    assert "Roe, John" in page(admin, f"/studies/{other.StudyInstanceUID}")


def test_a_study_that_names_nobody_is_not_given_the_name_of_another(admin, archive, people):
    _, _, patient = people
    nobody = datasets.build(PatientID=patient, **dict.fromkeys(JOHN, ""))
    archive.receive(nobody)
    found = named(admin, patient_id=patient)[nobody.StudyInstanceUID]
    assert found == {"name": "", "birth_date": None, "sex": ""}
    assert get(admin, f"studies/{nobody.StudyInstanceUID}")["patient"]["persons"] == []
    [held] = get(admin, "patients", patient_id=patient)["items"]
    assert held["persons"] == [SHOWN_JOHN, SHOWN_JANE]
    shown = page(admin, f"/studies/{nobody.StudyInstanceUID}")
    assert "No name" in shown
    assert "Doe" not in shown


def test_pages_show_and_mark_several_people(admin, archive):
    patient = generate_uid()
    hostile = JANE | {"PatientName": f"{SCRIPT}^Eve"}
    objects = [datasets.build(PatientID=patient, **whom) for whom in (JOHN, hostile)]
    for one in objects:
        archive.receive(one)
    for path, asked in (
        ("/studies", {"patient_id": patient}),
        ("/patients", {"patient_id": patient}),
        ("/patients", {"name": SCRIPT, "ambiguous": "true"}),
        ("/conflicts", {}),
        ("/storage", {}),
        *((f"/studies/{one.StudyInstanceUID}", {}) for one in objects),
    ):
        shown = page(admin, path, **asked)
        assert SCRIPT not in shown, path
        assert "everal people" in shown, path
    listed = page(admin, "/studies", patient_id=patient)
    assert re.findall(r">(Doe, John|&lt;script&gt;alert\(1\)&lt;/script&gt;, Eve)<", listed)
    assert listed.count("Several people") == 2
    assert "Doe, John" in page(admin, "/patients", name=SCRIPT, ambiguous="true")
    assert "Doe" not in page(admin, f"/studies/{objects[1].StudyInstanceUID}")
    assert "No patient matches" in page(admin, "/patients", name="nobody", ambiguous="true")


# --- what becomes of it ---------------------------------------------------------------


def test_a_conflict_goes_with_the_study_that_it_names(admin, archive, both):
    first, second = both
    answer = admin.delete(
        f"/api/v1/studies/{second.StudyInstanceUID}", params={"reason": "because"}
    )
    assert answer.status_code == 200
    archive.settle()
    assert conflicts(admin, first.StudyInstanceUID) == []
    assert conflicts(admin, second.StudyInstanceUID) == []


def test_what_was_set_aside_is_current_and_no_conflict_when_the_other_study_goes(
    admin, archive, both
):
    first, second = both
    admin.delete(f"/api/v1/studies/{first.StudyInstanceUID}", params={"reason": "because"})
    # Until it is announced again, nothing is current.
    [waiting] = conflicts(admin, second.StudyInstanceUID)
    assert (waiting["kind"], waiting["current_study_instance_uid"]) == ("another_object", "")
    assert "\N{EN DASH}" in page(admin, "/conflicts", study_instance_uid=second.StudyInstanceUID)
    archive.settle()
    assert conflicts(admin, second.StudyInstanceUID) == []
    assert get(admin, f"studies/{second.StudyInstanceUID}")["instance_count"] == 2


def test_of_two_people_one_remains_when_the_other_s_study_goes(admin, archive, people):
    john, jane, patient = people
    admin.delete(f"/api/v1/studies/{john}", params={"reason": "because"})
    archive.settle()
    [left] = get(admin, "patients", patient_id=patient)["items"]
    assert (left["ambiguous"], left["persons"], left["name"]) == (False, [], "Smith^Jane")
    assert named(admin, patient_id=patient) == {jane: SHOWN_JANE}
    assert named(admin, patient_id=patient, patient_name="doe") == {}


def test_announcing_everything_again_changes_no_list(admin, archive):
    patient = generate_uid()
    first, second = (datasets.build(PatientID=patient, **whom) for whom in (JOHN, JANE))
    stored = archive.receive(first, second)
    stored += archive.receive(elsewhere(first, StudyInstanceUID=second.StudyInstanceUID))

    def lists():
        found = [conflicts(admin, one.StudyInstanceUID) for one in (first, second)]
        patients = get(admin, "patients", patient_id=patient)["items"]
        persons = [{k: v for k, v in one.items() if k != "updated_at"} for one in patients]
        return found, persons, named(admin, patient_id=patient)

    before = lists()
    assert before[0][0] == before[0][1] != []
    assert before[1][0]["ambiguous"]
    archive.index(*reversed(stored))
    assert lists() == before
