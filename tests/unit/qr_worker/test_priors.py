"""Which earlier studies a delivery has retrieved, with a node in memory.

What becomes of the batch is in tests/integration/qr_worker/test_priors.py.
"""

import dataclasses
from datetime import UTC, date, datetime, time
from uuid import UUID, uuid4

import pytest

from draw_qr_worker.models import (
    ClaimedJob,
    InvalidJob,
    JobState,
    Lease,
    Postponed,
    RemoteNode,
    RoutedStudy,
    StatusPermanent,
)
from draw_qr_worker.services.delivering import DeliverTask
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.priors import NOT_AGAIN, PriorsTask, batch_of, months_before
from draw_shared.dicom.network.peer_failures import NotSupported
from draw_shared.routing.destinations import PriorsDestination
from support.priors import OLD, study, telling

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
STUDY = RoutedStudy("1.1", "P1", "", date(2026, 11, 30), time(12))
NODE = RemoteNode(7, "n", "PACS", "h", 104)


class Here:
    """What is here, and what is requested."""

    def __init__(self, study=STUDY, counts=(), others=()):
        self.known = study
        self.counts = dict(counts)
        self.others = set(others)
        self.batches = {}

    def study(self, _uid):
        return self.known

    def is_requested(self, batch_id):
        return batch_id in self.batches

    def instance_counts(self, uids):
        return {uid: self.counts[uid] for uid in uids if uid in self.counts}

    def request(self, _lease, batch):
        new = [one for one in batch.retrieves if one.study_instance_uid not in self.others]
        if new:
            self.batches[batch.id] = dataclasses.replace(batch, retrieves=new)
        return len(batch.retrieves) - len(new)

    @property
    def requested(self):
        return [one.study_instance_uid for each in self.batches.values() for one in each.retrieves]


def ask(node, here=None, *, remote=NODE, **target):
    here = here or Here()
    destination = PriorsDestination(kind="priors", name="priors", remote_node="n", **target)
    job_id = uuid4()
    parameters = {
        "delivery_id": 1,
        "study_instance_uid": "1.1",
        "give_up_at": NOW.isoformat(),
    }
    job = ClaimedJob(
        Lease(job_id, 1), "deliver", 1, 0, remote, parameters=parameters, claimed_at=NOW
    )
    task = PriorsTask(here, node, node)
    control = ExecutionControl(job.lease)
    return here, lambda: task.run(job, destination, control), job_id


def requested(node, here=None, **target):
    here, run, _ = ask(node, here, **target)
    assert run().state is JobState.COMPLETE
    return here.requested


def test_the_newest_are_requested_newest_first():
    assert requested(telling(OLD), most=2) == ["1.3", "1.4"]


def test_a_retrieve_names_patient_limit_and_whom_it_is_about():
    here, run, job_id = ask(telling(OLD), most=1)
    run()
    batch = here.batches[batch_of(job_id)]
    assert (batch.delivery_id, batch.node_id) == (1, 7)
    [one] = batch.retrieves
    assert one.parameters == {
        "study_instance_uid": "1.3",
        "patient_id": "P1",
        "about": {"patient_id": "P1", "study_date": "2026-03-01"},
        "give_up_at": NOW.isoformat(),
    }


def test_what_is_here_counts_as_one_of_the_newest_and_is_not_requested():
    assert requested(telling(OLD), Here(counts={"1.3": 1}), most=2) == ["1.4"]
    short = telling([study("1.3", "20260301", instances=3)])
    assert requested(short, Here(counts={"1.3": 2})) == ["1.3"]
    here, run, _ = ask(short, Here(counts={"1.3": 3}))
    outcome = run()
    assert (outcome.state, outcome.result) == (JobState.COMPLETE, {"expected": 0, "delivered": 0})
    assert not here.batches


def test_only_earlier_studies_within_the_months_are_requested():
    made = [
        study("1.1", "20260101"),
        study("2.1", "20261130", "115959"),
        study("2.2", "20261130", "120000"),
        study("2.3", "20261130", ""),
        study("2.4", "20261201"),
        study("2.5", "20261030"),
        study("2.6", "20261029"),
        study("2.7", ""),
        study("2.8", "garbage"),
    ]
    node = telling(made)
    assert requested(node, months=1, most=9) == ["2.1", "2.5"]
    # The same from a node that answers with all of its studies.
    everything = telling(made, ignored=frozenset({"StudyDate"}))
    assert requested(everything, months=1, most=9) == ["2.1", "2.5"]


def test_without_a_time_of_its_own_nothing_of_the_same_day_is_earlier():
    here = Here(dataclasses.replace(STUDY, study_time=None))
    assert requested(telling([study("2.1", "20261130", "000001")]), here) == []


def test_studies_of_other_patients_and_issuers_are_ignored():
    other = [study(f"9.{n}", "20261001", patient="P2") for n in range(30)]
    foreign = study("8.1", "20261001")
    foreign[0]["IssuerOfPatientID"] = "ELSEWHERE"
    node = telling([*other, foreign, OLD[0]], ignored=frozenset({"PatientID"}))
    here = Here(dataclasses.replace(STUDY, issuer="HERE"))
    assert requested(node, here, most=50) == ["1.2"]
    prefix = telling([study("9.1", "20261001", patient="P11"), OLD[0]], prefixes=True)
    assert requested(prefix) == ["1.2"]


def test_a_node_that_does_not_say_whose_its_studies_are_is_not_believed():
    here, run, _ = ask(telling(OLD, left_out=frozenset({"PatientID"})))
    with pytest.raises(StatusPermanent, match="does not tell PatientID"):
        run()
    assert not here.batches


def test_modalities_are_asked_for_one_by_one_and_checked():
    mr, pet = study("3.1", "20260401"), study("3.2", "20260501")
    mr[0]["ModalitiesInStudy"], pet[0]["ModalitiesInStudy"] = "MR", "PT"
    node = telling([*OLD, mr, pet])
    assert requested(node, modalities=("CT", "MR"), most=2) == ["3.1", "1.3"]
    assert [keys["ModalitiesInStudy"] for _, _, keys in node.asked] == ["CT", "MR"]
    deaf = telling([*OLD, mr, pet], ignored=frozenset({"ModalitiesInStudy"}))
    assert requested(deaf, modalities=("MR",), most=5) == ["3.1"]
    silent = telling([*OLD, mr], left_out=frozenset({"ModalitiesInStudy"}))
    assert requested(silent, modalities=("MR",)) == ["3.1"]


def test_of_thousands_the_newest_few_are_kept():
    days = [f"2026{month:02d}{day:02d}" for month in range(1, 11) for day in range(1, 29)]
    many = [study(f"4.{n}", days[n % len(days)], f"{n:06d}"[:6]) for n in range(10_000)]
    found = requested(telling(many, numbers={}), most=2)
    assert len(found) == 2
    newest = sorted(many, key=lambda one: (one[0]["StudyDate"], one[0]["StudyTime"]))[-2:]
    assert found == [one[0]["StudyInstanceUID"] for one in newest[::-1]]


def test_a_node_that_stops_early_leaves_a_doubt():
    node = telling(
        [study("1.3", "20260301", str(120000 + n)) for n in range(1)]
        + [study(f"5.{n}", "20260301", "120000") for n in range(9)],
        limits={"STUDY": 3},
        says_so=True,
    )
    here, run, _ = ask(node, most=1)
    run()
    [batch] = here.batches.values()
    assert "stops at its limit" in batch.parameters["doubt"]
    here.counts = dict.fromkeys(here.requested, 1)
    _, again, _ = ask(node, here, most=1)
    outcome = again()
    assert outcome.state is JobState.PARTIAL
    assert "stops at its limit" in outcome.error


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"patient_id": ""}, "no Patient ID"),
        ({"patient_id": "P*"}, "would name several"),
        ({"patient_id": "P?1"}, "would name several"),
        ({"patient_id": "P\\1"}, "would name several"),
        ({"study_date": None}, "no date"),
    ],
)
def test_a_study_that_does_not_say_whose_it_is_or_from_when_is_not_asked_for(changed, words):
    node = telling(OLD)
    _, run, _ = ask(node, Here(dataclasses.replace(STUDY, **changed)))
    with pytest.raises(InvalidJob, match=words):
        run()
    assert not node.asked


def test_a_study_that_was_brought_as_an_earlier_one_asks_for_none():
    node = telling(OLD)
    _, run, _ = ask(node, Here(dataclasses.replace(STUDY, is_prior=True)))
    outcome = run()
    assert (outcome.state, outcome.error) == (JobState.COMPLETE, NOT_AGAIN)
    assert not node.asked


def test_a_job_whose_batch_exists_asks_nothing():
    node = telling(OLD)
    here, run, job_id = ask(node)
    here.batches[batch_of(job_id)] = None
    assert run().state is JobState.COMPLETE
    assert not node.asked


def test_what_others_retrieve_is_waited_for():
    here, run, _ = ask(telling(OLD), Here(others={"1.2", "1.3", "1.4"}))
    with pytest.raises(Postponed, match="others retrieve all") as raised:
        run()
    assert raised.value.until > NOW
    some = Here(others={"1.3"})
    assert requested(telling(OLD), some) == ["1.4", "1.2"]
    assert not here.batches


def test_a_study_that_is_gone_has_no_outcome():
    assert ask(telling(OLD), Here(None))[1]() is None


def test_a_node_without_queries_is_refused():
    with pytest.raises(NotSupported, match="without C-FIND"):
        ask(telling(OLD), remote=dataclasses.replace(NODE, supports_find=False))[1]()


def test_what_is_given_up_has_failed_and_counts_nothing():
    destination = PriorsDestination(kind="priors", name="priors", remote_node="n")
    parameters = {"study_instance_uid": "1.1", "target": destination.model_dump(mode="json")}
    job = ClaimedJob(Lease(uuid4(), 1), "deliver", 9, 8, NODE, parameters=parameters)
    ended = DeliverTask(None, None, None, None, None, None).give_up(job, StatusPermanent("no"))
    assert (ended.state, ended.error) == (JobState.FAILED, "no")
    assert ended.result == {"expected": 0, "delivered": 0}


@pytest.mark.parametrize(
    ("day", "months", "before"),
    [
        (date(2026, 11, 30), 1, date(2026, 10, 30)),
        (date(2026, 3, 31), 1, date(2026, 2, 28)),
        (date(2024, 3, 31), 1, date(2024, 2, 29)),
        (date(2026, 1, 15), 12, date(2025, 1, 15)),
        (date(2026, 1, 15), 1, date(2025, 12, 15)),
        (date(2, 1, 1), 600, date.min),
    ],
)
def test_months_are_counted_back_to_a_day_that_exists(day, months, before):
    assert months_before(day, months) == before


def test_the_number_of_the_batch_follows_from_that_of_the_job():
    one, other = UUID(int=1), UUID(int=2)
    assert batch_of(one) == batch_of(one) != batch_of(other)
