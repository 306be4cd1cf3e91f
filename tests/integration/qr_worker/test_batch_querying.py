"""Lists of questions against a real association: lines that fail alone, and nodes in trouble.

How a node that truncates is read out is covered by test_querying.
"""

import json

import pytest
from pydicom.uid import generate_uid

from draw_qr_worker.adapters.list_answers import PostgresListAnswerRepository
from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.models import Cancelled, ClaimedJob, JobState, LostLease, RemoteNode
from draw_qr_worker.services.batch_querying import BatchFindTask
from draw_qr_worker.services.jobs import ExecutionControl
from draw_shared.dicom.network.peer_failures import PeerTrouble, Unreachable
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.network.statuses import DimseStatus
from support.datasets import build
from support.faulty_peer import AE, BREAK, peer
from tools.processes import free_port

pytestmark = pytest.mark.integration
MOST = 5


def patient(number, studies=1, **values):
    """Return one object in each study of a patient."""
    return [
        build(
            "CT", size_bytes=0, PatientID=f"P{number}", StudyInstanceUID=generate_uid(),
            StudyDate="20260102", AccessionNumber=f"A{number}", **values,
        )
        for _ in range(studies)
    ]  # fmt: skip


class Asked:
    """A list that was asked of one node, and the worker that does it."""

    def __init__(self, database, rows, store_of, nodes, port, lines):
        self._rows, self._nodes = rows, nodes
        self._database = database
        self._store = store_of()
        self.node_id = rows.node(port=port)
        self.node = RemoteNode(self.node_id, "n", AE, "127.0.0.1", port)
        self.list_id = rows.job(kind="batch", state="running")
        rows.execute(
            "INSERT INTO batch_queries (id, lines, kept_seconds) VALUES (:id, :lines, 60)",
            id=self.list_id, lines=len(lines),
        )  # fmt: skip
        for number, keys in enumerate(lines, 2):
            rows.execute(
                "INSERT INTO batch_query_lines (batch_query_id, number, keys)"
                " VALUES (:id, :number, CAST(:keys AS jsonb))",
                id=self.list_id, number=number, keys=json.dumps(keys),
            )  # fmt: skip
        self._parameters = {"batch_query_id": str(self.list_id), "limit": MOST}
        self.job_id = rows.job(
            self.node_id, kind="batch_find", parent_id=self.list_id, parameters=self._parameters
        )
        self.control = None

    def run(self, watch=lambda _: None):
        """Do the job as one worker does, and return what came of it."""
        lease = self._store.claim(self.job_id).lease
        self.control = ExecutionControl(lease)
        job = ClaimedJob(lease, "batch_find", 1, 0, self.node, parameters=self._parameters)
        answers = PostgresListAnswerRepository(self._database)
        watch(self)
        try:
            return BatchFindTask(
                RemoteNodes(lambda: "DRAW", PeerTrusts()), answers, self._nodes
            ).run(job, self.control)
        except PeerTrouble:
            self._store.release(lease)
            raise

    def answers(self):
        """Return state, studies and error by line."""
        rows = self._rows.execute(
            "SELECT l.number, a.* FROM batch_query_lines l"
            " JOIN batch_query_answers a ON a.line_id = l.id WHERE l.batch_query_id = :id"
            " ORDER BY l.number",
            id=self.list_id,
        )
        return {row["number"]: row for row in rows}


@pytest.fixture
def ask(database, rows, store_of, nodes):
    """Return a function that makes a list for the node at a port."""
    return lambda port, lines: Asked(database, rows, store_of, nodes, port, lines)


def by_patients(*names):
    return [{"PatientID": name} for name in names]


def test_every_line_is_answered_over_one_association(ask):
    with peer(patient(1) + patient(2, 3)) as (provider, port):
        asked = ask(port, [*by_patients("P1", "P2", "P3"), {"ModalitiesInStudy": "MR"}])
        outcome = asked.run()
        assert len(provider.infos) == 1
    assert (outcome.state, outcome.result["answered"]) == (JobState.COMPLETE, 4)
    found = asked.answers()
    assert [(row["state"], row["found"]) for row in found.values()] == [
        ("complete", 1), ("complete", 3), ("complete", 0), ("complete", 0),
    ]  # fmt: skip
    [study] = found[2]["studies"]
    assert study["instances"] == 1
    assert study["attributes"]["PatientID"] == "P1"
    assert asked.control.progress == {"answered": 4, "found": 2, "failed": 0}


def test_a_refused_line_fails_alone_and_one_of_the_moment_does_not(ask):
    with peer(patient(1) + patient(2) + patient(3)) as (provider, port):
        provider.faults_of = {
            "P1": [DimseStatus.OUT_OF_RESOURCES] * 2,
            "P2": [DimseStatus.OUT_OF_RESOURCES],
            "P4": [DimseStatus.SOP_CLASS_NOT_SUPPORTED],
        }
        asked = ask(port, by_patients("P1", "P2", "P4", "P3"))
        outcome = asked.run()
        assert len(provider.infos) == 1
    assert outcome.state is JobState.PARTIAL
    assert outcome.error == "of 4 lines 2 failed"
    found = asked.answers()
    assert [found[n]["state"] for n in (2, 3, 4, 5)] == ["failed", "complete", "failed", "complete"]
    assert "C-FIND" in found[2]["error"]


def test_a_value_that_no_attribute_can_have_fails_alone(ask):
    with peer(patient(1)) as (_, port):
        asked = ask(port, [{"NumberOfStudyRelatedSeries": "many"}, *by_patients("P1")])
        assert asked.run().state is JobState.PARTIAL
    assert [row["state"] for row in asked.answers().values()] == ["failed", "complete"]


def test_a_line_that_breaks_associations_fails_alone(ask):
    with peer(patient(1) + patient(3)) as (provider, port):
        provider.faults_of = {"P2": [BREAK] * 9}
        asked = ask(port, by_patients("P1", "P2", "P3"))
        outcome = asked.run()
    assert outcome.error == "of 3 lines 1 failed"
    found = asked.answers()
    assert [row["state"] for row in found.values()] == ["complete", "failed", "complete"]


def test_a_node_that_breaks_once_is_asked_on(ask):
    with peer(patient(1) + patient(2)) as (provider, port):
        provider.faults_of = {"P2": [BREAK]}
        asked = ask(port, by_patients("P1", "P2"))
        assert asked.run().state is JobState.COMPLETE
        assert len(provider.infos) == 2


def test_a_node_in_trouble_is_tried_again_and_goes_on_where_it_stopped(ask):
    with peer([one for n in range(1, 7) for one in patient(n)]) as (provider, port):
        provider.faults_of = {f"P{n}": [BREAK] * 2 for n in range(3, 7)}
        asked = ask(port, by_patients(*(f"P{n}" for n in range(1, 7))))
        with pytest.raises(PeerTrouble):
            asked.run()
        assert list(asked.answers()) == [2, 3]
        provider.faults_of = {}
        before = len(provider.finds)
        outcome = asked.run()
        assert len(provider.finds) == before + 4
    assert (outcome.state, outcome.result["answered"]) == (JobState.COMPLETE, 6)


def test_a_node_that_is_not_there_answers_nothing(ask):
    asked = ask(free_port(), by_patients("P1"))
    with pytest.raises(Unreachable):
        asked.run()
    assert not asked.answers()


def test_more_studies_than_a_line_may_have_are_truncated(ask):
    with peer(patient(1, MOST + 2) + patient(2, MOST - 1)) as (_, port):
        asked = ask(port, by_patients("P1", "P2"))
        outcome = asked.run()
    assert outcome.error == "of 2 lines 1 not answered whole"
    found = asked.answers()
    assert [(row["state"], row["found"]) for row in found.values()] == [
        ("truncated", MOST), ("complete", MOST - 1),
    ]  # fmt: skip


def test_studies_that_do_not_fit_are_left_out(ask):
    """This node ignores the accession number, as real ones do."""
    with peer(patient(1) + patient(2)) as (_, port):
        asked = ask(port, [{"AccessionNumber": "A1"}])
        asked.run()
    [answer] = asked.answers().values()
    assert [s["attributes"]["AccessionNumber"] for s in answer["studies"]] == ["A1"]
    assert answer["error"] == "the node named 1 studies that do not fit"


def test_a_list_is_called_off_between_lines(ask):
    def cancel_soon(asked):
        provider.opened = lambda _info: asked.control.end(Cancelled("cancelled"))

    with peer(patient(1)) as (provider, port):
        asked = ask(port, by_patients("P1", "P2"))
        with pytest.raises(Cancelled):
            asked.run(cancel_soon)
    assert not asked.answers()


def test_who_lost_the_lease_writes_no_answer(ask, rows):
    with peer(patient(1)) as (_, port):
        asked = ask(port, by_patients("P1"))
        with pytest.raises(LostLease):
            asked.run(
                lambda a: rows.execute(
                    "UPDATE jobs SET fence = fence + 1 WHERE id = :id RETURNING id", id=a.job_id
                )
            )
    assert not asked.answers()


def test_studies_found_expire_and_the_list_stays(ask, rows, database):
    with peer(patient(1)) as (_, port):
        asked = ask(port, by_patients("P1"))
        asked.run()
    answers = PostgresListAnswerRepository(database)
    for age, expired in ((30, False), (90, True)):
        rows.execute(
            "UPDATE jobs SET finished_at = now() - make_interval(secs => :age) WHERE id = :id"
            " RETURNING id",
            age=age, id=asked.list_id,
        )  # fmt: skip
        answers.expire()
        [row] = rows.execute("SELECT * FROM batch_queries WHERE id = :id", id=asked.list_id)
        assert row["expired"] is expired
        assert len(asked.answers()[2]["studies"]) == (0 if expired else 1)
    assert asked.answers()[2]["found"] == 1


def test_a_node_that_ignores_keys_brings_no_other_patients_studies(ask):
    own = patient(1, PatientName="SMITH^JOHN", PatientBirthDate="19500102")
    other = patient(2, PatientName="SMITHSON^BOB", PatientBirthDate="19600102")
    # The peer compares neither names nor dates of birth.
    lines = [
        {"PatientName": "Smith^John*", "PatientBirthDate": "19500102"},
        {"PatientName": "Jones*"},
        {"PatientName": "Smithson*", "PatientBirthDate": "19500102"},
        {"PatientName": "Smiths*"},
    ]
    with peer(own + other) as (_, port):
        asked = ask(port, lines)
        asked.run()
    found = asked.answers()
    assert [row["found"] for row in found.values()] == [1, 0, 0, 1]
    assert found[2]["studies"][0]["attributes"]["PatientID"] == "P1"
    assert found[2]["studies"][0]["meant"] is True
    assert "do not fit" in found[3]["error"]
    assert found[5]["studies"][0]["meant"] is False
    assert "the name continues" in found[5]["error"]
