"""Which requests fetch what is missing: no more than needed, and as few as can be."""

import pytest

from draw_qr_worker.models import InvalidJob, Item, Subject
from draw_qr_worker.services.retrieve_plan import (
    MAX_UIDS_PER_REQUEST,
    Method,
    order_of,
    plan_missing,
    plan_whole,
    subject_of,
)


def items(study, series, count, arrived=0, sop_class="1.2.840.1"):
    return [
        Item(study, series, f"{series}.{n}", sop_class, arrived=n < arrived) for n in range(count)
    ]


def shape(requests):
    return [
        (r.level, r.keys.get("SeriesInstanceUID"), len(r.keys.get("SOPInstanceUID", ())))
        for r in requests
    ]


def test_a_study_of_which_nothing_is_here_is_one_request():
    expected = items("1", "1.1", 3) + items("1", "1.2", 4)
    [request] = plan_missing(expected, Subject("1"))
    assert (request.level, dict(request.keys)) == ("STUDY", {"StudyInstanceUID": "1"})
    assert request.sop_classes == {"1.2.840.1"}


def test_an_instance_of_unknown_class_may_be_of_any():
    for sop_class, others in (("", True), ("1.2.840.2", False)):
        [request] = plan_missing(
            items("1", "1.1", 2) + items("1", "1.2", 1, 0, sop_class), Subject("1")
        )
        assert request.further_classes is others


def test_what_is_here_is_not_fetched_again():
    expected = items("1", "1.1", 3, arrived=3) + items("1", "1.2", 4) + items("1", "1.3", 5, 2)
    requests = plan_missing(expected, Subject("1"))
    assert shape(requests) == [("SERIES", "1.2", 0), ("IMAGE", "1.3", 3)]
    assert requests[1].keys["SOPInstanceUID"] == ["1.3.2", "1.3.3", "1.3.4"]


def test_nothing_missing_is_no_request():
    assert plan_missing(items("1", "1.1", 3, arrived=3), Subject("1")) == []


def test_single_instances_stay_single_instances():
    subject = Subject("1", "1.1", ("1.1.0", "1.1.1"))
    assert shape(plan_missing(items("1", "1.1", 2), subject)) == [("IMAGE", "1.1", 2)]


def test_many_instances_are_asked_for_in_pieces():
    expected = items("1", "1.1", 2 * MAX_UIDS_PER_REQUEST + 6, arrived=1)
    sizes = [size for _, _, size in shape(plan_missing(expected, Subject("1")))]
    assert sizes == [MAX_UIDS_PER_REQUEST, MAX_UIDS_PER_REQUEST, 5]


def test_each_study_that_was_looked_up_has_its_request():
    expected = items("1", "1.1", 1) + items("2", "2.1", 1)
    requests = plan_missing(expected, Subject(patient_id="P"))
    assert [r.keys["StudyInstanceUID"] for r in requests] == ["1", "2"]


def test_a_series_is_asked_for_as_a_series():
    assert shape([plan_whole("1", [], Subject("1", "1.1"), 3)]) == [("SERIES", "1.1", 0)]
    assert shape(plan_missing(items("1", "1.1", 2), Subject("1", "1.1"))) == [("SERIES", "1.1", 0)]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"study_instance_uid": "1.2/../3"},
        {"study_instance_uid": "1.2", "sop_instance_uids": ["1.2.3"]},
        {"series_instance_uid": "1.2"},
        {"patient_id": "P*"},
        {"accession_number": "A?"},
        {"patient_id": "P\\Q"},
        {"study_instance_uid": "1.2", "method": "carrier pigeon"},
    ],
)
def test_parameters_without_sense_are_refused(parameters):
    with pytest.raises(InvalidJob):
        order_of(parameters)


def test_parameters_become_an_order():
    order = order_of({"study_instance_uid": "1.2", "method": "get", "force": True})
    assert (order.method, order.force, order.subject) == (Method.GET, True, Subject("1.2"))
    assert subject_of({"accession_number": "A"}).level == "STUDY"


def test_an_instance_that_a_job_names_twice_is_expected_once():
    named = {
        "study_instance_uid": "1",
        "series_instance_uid": "1.2",
        "sop_instance_uids": ["1.3", "1.4", "1.3"],
    }
    assert subject_of(named).sop_instance_uids == ("1.3", "1.4")
