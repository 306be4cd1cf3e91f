"""A query to one node: levels and keys of its model, kept as it comes, also when cancelled.

Real associations are in the integration tests; whole and truncated answers in test_asking.
"""

from uuid import UUID

import pytest

from draw_qr_worker.models import Cancelled, ClaimedJob, JobState, Lease, RemoteNode
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.querying import FindTask
from draw_shared.dicom.network.peer_failures import NotSupported
from support.generated_node import NUMBERS, GeneratedNode, Index

LEASE = Lease(UUID(int=1), 1)
HONEST = {keyword: (lambda number: number) for keyword in NUMBERS}


class Results:
    """Keeps batches, and calls `then` after each."""

    def __init__(self):
        self.batches = []
        self.then = lambda: None

    def add(self, _lease, _query_id, _node_id, matches):
        self.batches.append(dict(matches))
        self.then()

    @property
    def found(self):
        return [key for batch in self.batches for key in batch]


def objects(patients=3, studies=2, instances=1):
    return [
        {
            "PatientID": f"P{p}",
            "StudyInstanceUID": f"1.{p}.{s}",
            "StudyDate": f"202601{10 + s}",
            "StudyTime": "120000",
            "AccessionNumber": "A",
            "SeriesInstanceUID": f"1.{p}.{s}.1",
            "SOPInstanceUID": f"1.{p}.{s}.1.{i}",
        }
        for p in range(patients)
        for s in range(studies)
        for i in range(instances)
    ]


def node_of(accepted=("study",), having=None, **faults):
    held = objects() if having is None else having
    return GeneratedNode(held, Index(), accepted=frozenset(accepted), **faults)


def ask(node, level, keys, *, model="study", results=None, control=None, limit=0):
    results = results or Results()
    parameters = {"query_id": str(UUID(int=2)), "level": level, "keys": keys, "limit": limit}
    remote = RemoteNode(1, "n", "AE", "h", 104, query_model=model)
    job = ClaimedJob(LEASE, "find", 1, 0, remote, parameters=parameters)
    outcome = FindTask(node, results, node).run(job, control or ExecutionControl(LEASE))
    return outcome, results.found, [(used, asked) for used, asked, _ in node.asked]


def test_level_patient_never_goes_out_under_study_root():
    node = node_of()
    outcome, found, asked = ask(node, "PATIENT", {"PatientID": ""})
    assert outcome.state is JobState.COMPLETE
    assert sorted(found) == ["P0\\", "P1\\", "P2\\"]
    assert asked == [("study", "STUDY")]


def test_a_missing_patient_id_is_no_matter_where_study_root_is_offered():
    _, found, asked = ask(node_of({"patient", "study"}), "STUDY", {}, model="patient")
    assert len(found) == 6
    assert asked == [("study", "STUDY")]


def test_unique_keys_above_are_asked_for_first_and_sent():
    node = node_of({"patient"})
    outcome, found, asked = ask(node, "STUDY", {"StudyDate": "20260110"}, model="patient")
    assert (outcome.state, len(found)) == (JobState.COMPLETE, 3)
    assert asked == [("patient", "PATIENT"), *[("patient", "STUDY")] * 3]
    assert [keys["PatientID"] for _, level, keys in node.asked if level == "STUDY"] == [
        "P0",
        "P1",
        "P2",
    ]
    single = node_of({"patient"})
    _, found, asked = ask(single, "STUDY", {"PatientID": "P1"}, model="patient")
    assert (len(found), asked) == (2, [("patient", "STUDY")])


def test_a_list_of_patients_that_was_cut_leaves_the_query_truncated():
    node = node_of({"patient"}, limits={"PATIENT": 2}, says_so=True)
    outcome, _, _ = ask(node, "STUDY", {}, model="patient")
    assert outcome.result["completeness"] == "truncated"


def test_patient_study_only_has_no_levels_below_the_study():
    with pytest.raises(NotSupported, match="Patient/Study Only, has no level SERIES"):
        ask(node_of({"patient_study"}), "SERIES", {"StudyInstanceUID": "1"}, model="patient_study")


@pytest.mark.parametrize(("numbers", "state"), [(HONEST, "complete"), ({}, "truncated")])
def test_a_round_number_of_instances_is_compared_with_the_level_above(numbers, state):
    node = node_of(having=objects(1, 1, 100), numbers=numbers)
    keys = {"StudyInstanceUID": "1.0.0", "SeriesInstanceUID": "1.0.0.1"}
    assert ask(node, "IMAGE", keys)[0].result["completeness"] == state


def test_matches_are_kept_while_the_node_sends_and_stay_when_it_is_cancelled():
    results, control = Results(), ExecutionControl(LEASE)
    node = node_of(having=objects(500, 1))

    def cancelled(*arguments, **named):
        found = GeneratedNode.find(node, *arguments, **named)
        control.end(Cancelled())
        control.check()
        return found

    node.find = cancelled
    with pytest.raises(Cancelled):
        ask(node, "STUDY", {}, results=results, control=control)
    assert len(results.batches) > 1
    assert len(set(results.found)) == 500
    assert control.progress["matches"] == 500


def test_the_query_stops_at_the_number_that_was_asked_for():
    outcome, found, _ = ask(node_of(), "STUDY", {}, limit=4)
    assert (len(found), outcome.result["completeness"]) == (4, "truncated")


@pytest.mark.parametrize("model", ["study", "patient"])
def test_series_are_asked_for_with_the_keys_above_them_when_instances_are_wanted(model):
    node = node_of({model})
    outcome, found, asked = ask(node, "IMAGE", {"StudyInstanceUID": "1.1.0"}, model=model)
    assert (outcome.state, found) == (JobState.COMPLETE, ["1.1.0.1.0"])
    assert (model, "SERIES") in asked


@pytest.mark.parametrize("odd", ["P*1", "P?", "", "P\\Q"])
def test_patients_by_whose_id_a_node_cannot_be_asked_leave_the_query_truncated(odd):
    held = [*objects(2, 1), {**objects(1, 1)[0], "PatientID": odd, "StudyInstanceUID": "9"}]
    node = node_of({"patient"}, having=held)
    outcome, found, asked = ask(node, "STUDY", {"StudyDate": "20260110"}, model="patient")
    assert found == ["1.0.0", "1.1.0"]
    assert len(asked) == 3
    assert outcome.result["completeness"] == "truncated"
    assert outcome.error.startswith("1 at the level PATIENT cannot be asked for: the PatientID")
