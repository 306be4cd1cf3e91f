"""Which queries and retrieves are accepted, and which are the same as others."""

import pytest
from pydantic import ValidationError

from draw_api.models.queries import NewQuery
from draw_api.models.retrieves import NewRetrieve, RetrieveOptions, WantedItem, parameters_of
from draw_api.services.queries import fingerprint_of
from draw_api.services.retrieves import subject_of


@pytest.mark.parametrize(
    "body",
    [
        {"keys": {"Nonsense": "x"}},
        {"keys": {"QueryRetrieveLevel": "STUDY"}},
        {"keys": {"PixelData": ""}},
        {"keys": {"ReferencedStudySequence": ""}},
        {"keys": {"PatientName": "a\nb"}},
        {"level": "SERIES"},
        {"level": "IMAGE", "keys": {"StudyInstanceUID": "1"}},
        {"node_ids": []},
        {"unknown": 1},
    ],
)
def test_queries_without_sense_are_refused(body):
    with pytest.raises(ValidationError):
        NewQuery.model_validate({"node_ids": [1]} | body)


def test_keys_are_what_nodes_are_sent_and_each_unclear_one_is_named():
    typed = {"StudyDate": "01.11.2026", "PatientName": "Smith, J", "StudyInstanceUID": ["1", "2"]}
    assert NewQuery(keys=typed, node_ids=[1]).keys == {
        "StudyDate": "20261101",
        "PatientName": "Smith^J*",
        "StudyInstanceUID": ["1", "2"],
    }
    with pytest.raises(ValidationError) as refused:
        NewQuery(keys={"StudyDate": "03/04/2026", "Modality": "CT,MR"}, node_ids=[1])
    found = {error["loc"]: error["msg"] for error in refused.value.errors()}
    assert set(found) == {("keys", "StudyDate"), ("keys", "Modality")}
    assert "3 April or 4 March" in found["keys", "StudyDate"]


def test_keys_that_mean_the_same_have_the_same_fingerprint():
    one = NewQuery(keys={"StudyDate": "01.11.2026"}, node_ids=[1])
    two = NewQuery(keys={"StudyDate": "2026-11-01"}, node_ids=[1])
    assert fingerprint_of(one) == fingerprint_of(two)


def test_the_same_query_has_the_same_fingerprint():
    one = NewQuery(keys={"PatientID": "P", "StudyDate": "2026"}, node_ids=[1, 2])
    two = NewQuery(keys={"StudyDate": "2026", "PatientID": "P"}, node_ids=[2, 1, 1])
    other = NewQuery(keys={"PatientID": "P"}, node_ids=[1, 2])
    assert fingerprint_of(one) == fingerprint_of(two) != fingerprint_of(other)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"series_instance_uid": "1.2"},
        {"study_instance_uid": "1", "sop_instance_uids": ["1.2"]},
        {"patient_id": "P*"},
        {"study_instance_uid": "1/../2"},
    ],
)
def test_items_that_name_nothing_are_refused(item):
    with pytest.raises(ValidationError):
        WantedItem.model_validate(item)


def test_an_instance_named_twice_is_wanted_once():
    item = WantedItem(
        study_instance_uid="1", series_instance_uid="1.2", sop_instance_uids=["1.3", "1.4", "1.3"]
    )
    assert item.sop_instance_uids == ["1.3", "1.4"]


def test_get_has_no_destination():
    with pytest.raises(ValidationError):
        RetrieveOptions(node_id=1, method="get", destination="OTHER")


def test_what_is_the_same_retrieve_depends_on_what_and_where_to():
    here = RetrieveOptions(node_id=1)
    study = WantedItem(study_instance_uid="1.2")
    urgent = RetrieveOptions(node_id=1, priority=1, force=True)
    assert subject_of(here, study) == subject_of(urgent, study)
    others = [
        subject_of(RetrieveOptions(node_id=2), study),
        subject_of(RetrieveOptions(node_id=1, destination="X"), study),
        subject_of(here, WantedItem(study_instance_uid="1.2", series_instance_uid="1.2.3")),
    ]
    assert subject_of(here, study) not in others


def test_a_job_keeps_what_was_asked_for_and_nothing_empty():
    body = NewRetrieve.model_validate(
        {
            "node_id": 1,
            "items": [{"study_instance_uid": "1.2"}],
            "windows": [{"days": ["mon"], "start": "22:00", "end": "06:00"}],
        }
    )
    assert parameters_of(body, body.items[0]) == {
        "study_instance_uid": "1.2",
        "windows": [{"days": ["mon"], "start": "22:00", "end": "06:00"}],
    }
