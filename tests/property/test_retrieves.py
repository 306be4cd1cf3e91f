"""Retrieves from generated nodes: whatever a node answers, `complete` is never said falsely.

Each node has its objects and its own way of answering: lists cut with and without a word, numbers
that lie or are missing, matches doubled, nameless, of other patients, in any order, levels
refused or empty, objects withheld and counted as sent. One witness of the truth is left to each
node: where every answer tells the same lie, nobody can know. DIMSE is not covered here.
"""

import random
from uuid import UUID

import pytest

from draw_qr_worker.models import ClaimedJob, JobState, Lease, RemoteNode
from draw_qr_worker.services.expectation import Expectations
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.retrieving import RetrieveTask
from draw_shared.errors import DrawError
from support.generated_node import NUMBERS, GeneratedNode, Index

NODES = 2000
LEASE = Lease(UUID(int=1), 1)


def truth(chance):
    """Return the objects of a few patients, some of whose IDs begin alike."""
    objects = []
    for patient in [*chance.sample(["P1", "P12", "P1A", "Q"], chance.randint(1, 3)), "P"]:
        days = chance.sample(range(10, 29), 6)
        for s in range(chance.randint(1, 6)):
            # Several on one day, at different times.
            day = days[0] if s and chance.random() < 0.3 else days[s]
            study = f"{patient}.{s}"
            accession = chance.choice(["A1", "A2"])
            for e in range(chance.randint(1, 4)):
                objects += [
                    {
                        "PatientID": patient,
                        "StudyInstanceUID": study,
                        "StudyDate": f"202601{day}",
                        "StudyTime": f"{8 + s:02d}0000",
                        "AccessionNumber": accession,
                        "Modality": "CT",
                        "SeriesInstanceUID": f"{study}.{e}",
                        "SOPInstanceUID": f"{study}.{e}.{i}",
                    }
                    for i in range(chance.randint(1, 6))
                ]
    # Unique identifiers are made of digits.
    digits = {"P": "1", "P1": "2", "P12": "3", "P1A": "4", "Q": "5"}
    for one in objects:
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            first, _, rest = one[key].partition(".")
            one[key] = f"1.{digits[first]}.{rest}"
    return objects


def subject(chance, objects):
    """Return a job's parameters and the objects that it names."""
    one = chance.choice([each for each in objects if each["PatientID"] == "P"])
    asked = {
        "patient": {"PatientID": "P"},
        "accession": {"PatientID": "P", "AccessionNumber": one["AccessionNumber"]},
        "study": {"StudyInstanceUID": one["StudyInstanceUID"]},
        "series": {k: one[k] for k in ("StudyInstanceUID", "SeriesInstanceUID")},
    }[chance.choice(["patient", "patient", "accession", "study", "study", "series"])]
    named = [each for each in objects if all(each[k] == v for k, v in asked.items())]
    keywords = {
        "PatientID": "patient_id",
        "AccessionNumber": "accession_number",
        "StudyInstanceUID": "study_instance_uid",
        "SeriesInstanceUID": "series_instance_uid",
    }
    return {keywords[key]: value for key, value in asked.items()}, named


HONEST = {keyword: (lambda number: number) for keyword in NUMBERS}


def wrong(chance):
    """Return a node that answers anyhow, its job, and what the job names."""
    objects = truth(chance)
    parameters, named = subject(chance, objects)
    levels = ("STUDY", "SERIES", "IMAGE")
    withheld = chance.choice([0, 0, 0.05, 0.3])
    lies = [
        lambda number: number,
        lambda number: number,
        lambda number: max(0, number - 1),
        lambda number: 0 * number,
        lambda number: number + 2,
        lambda number: number // 2,
    ]
    numbers = {keyword: chance.choice(lies) for keyword in NUMBERS if chance.random() < 0.6}
    node = GeneratedNode(
        objects,
        Index(chance.sample(objects, len(objects) // 3) if chance.random() < 0.4 else ()),
        limits={level: chance.randint(2, 4) for level in levels if chance.random() < 0.4},
        says_so=chance.random() < 0.5,
        numbers=numbers,
        refused=frozenset(level for level in levels[1:] if chance.random() < 0.15),
        empty=frozenset(level for level in levels[1:] if chance.random() < 0.15),
        ignored=frozenset(k for k in ("PatientID", "AccessionNumber") if chance.random() < 0.2),
        prefixes=chance.random() < 0.3,
        left_out=frozenset(k for k in ("StudyInstanceUID", "StudyDate") if chance.random() < 0.05),
        doubled=chance.random() < 0.3,
        nameless=chance.random() < 0.3,
        shuffle=chance if chance.random() < 0.5 else None,
        withheld=frozenset(one["SOPInstanceUID"] for one in objects if chance.random() < withheld),
        counts=chance.choice(["honest", "lied", "dropped", "none"]),
    )
    _leave_a_witness(chance, node, parameters)
    return node, parameters, named


def _leave_a_witness(chance, node, parameters):
    """Let one source tell the truth about instances, and one about studies."""
    if "series_instance_uid" in parameters:
        keyword, level = "NumberOfSeriesRelatedInstances", {"SERIES"}
    elif chance.random() < 0.5:
        keyword, level = "NumberOfStudyRelatedInstances", {"STUDY"}
    else:
        keyword, level = "", {"SERIES", "IMAGE"}
    if keyword:
        node.numbers[keyword] = HONEST[keyword]
    else:
        # The lists themselves are whole.
        node.limits = {k: v for k, v in node.limits.items() if k not in level}
    node.refused -= level
    node.empty -= level
    if node.ignored or node.prefixes:
        # Other patients' studies take the places of ours in a list that is cut.
        node.limits.pop("STUDY", None)
    if "StudyDate" in node.left_out:
        node.limits.pop("STUDY", None)


def job_of(node, parameters, **settings):
    """Return the task, and a claimed job of these parameters."""
    remote = RemoteNode(7, "n", "PACS", "h", 104, supports_get=True, **settings)
    expectations = Expectations(node, node, max_studies=100)
    task = RetrieveTask(node.index, expectations, node, node, lambda: "DRAW", arrival_seconds=0)
    return task, ClaimedJob(LEASE, "retrieve", 1, 0, remote, parameters=parameters)


def end_of(node, parameters, **settings):
    """Return how the job ends; None: with an error."""
    task, job = job_of(node, parameters, **settings)
    try:
        return task.run(job, ExecutionControl(LEASE))
    except DrawError as error:
        return task.give_up(job, error)


def proved(node, named, *, force):
    """Return whether everything that the job names has come, or is here by its name."""
    index = node.index
    there = index.received if force else index.received | index.before.keys()
    return all(one["SOPInstanceUID"] in there for one in named)


def test_no_generated_node_gets_a_false_complete():
    ends = dict.fromkeys(JobState, 0)
    for seed in range(NODES):
        chance = random.Random(seed)
        node, parameters, named = wrong(chance)
        parameters |= {"method": chance.choice(["move", "get"]), "force": chance.random() < 0.2}
        outcome = end_of(node, parameters)
        ends[outcome.state] += 1
        asked = {one["StudyInstanceUID"] for one in named}
        assert {keys["StudyInstanceUID"] for _, keys in node.moved} <= asked, seed
        if outcome.state is JobState.COMPLETE:
            assert proved(node, named, force=parameters["force"]), seed
        else:
            assert outcome.error, seed
    # None of these ends is rare enough to be untested.
    for state in (JobState.COMPLETE, JobState.UNPROVED, JobState.PARTIAL):
        assert ends[state] > NODES // 40, ends


@pytest.mark.parametrize("model", ["study", "patient"])
def test_a_node_that_is_only_untidy_ends_complete(model):
    for seed in range(NODES // 10):
        chance = random.Random(seed)
        objects = truth(chance)
        parameters, named = subject(chance, objects)
        node = GeneratedNode(
            objects,
            Index(chance.sample(objects, len(objects) // 3) if chance.random() < 0.4 else ()),
            accepted=frozenset({model, "study"}),
            numbers={k: HONEST[k] for k in NUMBERS if chance.random() < 0.5},
            prefixes=chance.random() < 0.3,
            ignored=frozenset(k for k in ("AccessionNumber",) if chance.random() < 0.3),
            doubled=chance.random() < 0.3,
            nameless=chance.random() < 0.3,
            shuffle=chance if chance.random() < 0.5 else None,
        )
        outcome = end_of(node, parameters, query_model=model)
        assert outcome.state is JobState.COMPLETE, (seed, outcome)
        assert proved(node, named, force=False), seed
        if model == "patient":
            assert all(keys["PatientID"] == "P" for _, keys in node.moved), seed
            below = [keys for used, _, keys in node.asked if used == "patient"]
            assert all(keys["PatientID"] == "P" for keys in below), seed


def test_lists_that_are_cut_and_say_so_end_complete_when_numbers_and_sender_are_honest():
    for seed in range(NODES // 10):
        chance = random.Random(seed)
        objects = truth(chance)
        parameters, named = subject(chance, objects)
        node = GeneratedNode(
            objects,
            Index(),
            numbers=dict(HONEST),
            limits={level: chance.randint(2, 4) for level in ("STUDY", "SERIES", "IMAGE")},
            says_so=chance.random() < 0.5,
            shuffle=chance,
        )
        outcome = end_of(node, parameters)
        assert outcome.state is JobState.COMPLETE, (seed, outcome)
        assert proved(node, named, force=False), seed


def test_no_false_complete_is_said_of_what_goes_elsewhere():
    for seed in range(NODES // 4):
        chance = random.Random(seed)
        node, parameters, named = wrong(chance)
        if node.counts == "lied":
            # Nobody sees what another node gets: there the counts are the only witness.
            node.counts = "dropped"
        outcome = end_of(node, parameters | {"destination": "OTHER"})
        sent = {one["SOPInstanceUID"] for one in named} <= node.index.received
        assert outcome.state is not JobState.COMPLETE or sent, seed
        if node.counts == "none":
            assert outcome.state in {JobState.UNPROVED, JobState.FAILED}, seed
