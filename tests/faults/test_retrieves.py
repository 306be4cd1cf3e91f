"""Workers and nodes fail while a retrieve is under way.

A database or broker that fails is covered by the tests of outages.
"""

import os
import random
import signal
import time
from contextlib import contextmanager

import pytest

from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.requestor import Remote, open_association
from support import faulty_peer, peers, senders
from support.datasets import series
from support.delivered import deliveries, put_rules
from support.faults import own_rabbitmq
from support.faulty_peer import AE
from support.retrieving import ground as running_ground
from support.retrieving import studies, uid_of
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

ECHO = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)
JOBS = 50
KILLS = 10
ENDINGS = """
CREATE TABLE endings (job_id uuid, state text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_ending() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO endings VALUES (new.id, new.state); RETURN new; END $$;
CREATE TRIGGER note_ending AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (new.state IN ('complete', 'unproved', 'partial', 'failed', 'cancelled'))
    EXECUTE FUNCTION note_ending();
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory, postgres_url, template, broker):
    folder = tmp_path_factory.mktemp("workers")
    with running_ground(folder, postgres_url, template, broker) as made:
        made.suite.execute(ENDINGS)
        yield made


@contextmanager
def node_with(ground, some, **settings):
    objects = [one for study in some for one in study]
    with faulty_peer.peer(objects, ground.suite.dicom_port) as (provider, port):
        yield provider, ground.node(port, max_associations=8, **settings)


def endings(ground, *jobs):
    """Return the final states that the jobs were ever given."""
    ids = [job["id"] for job in jobs]
    return ground.suite.rows(
        "SELECT job_id, state FROM endings WHERE job_id = ANY(CAST(:ids AS uuid[]))", ids=ids
    )


def children(ground, batch):
    """Return the jobs of a batch."""
    parameters = {"parent_id": batch["id"], "limit": 500}
    return ground.client.get("/api/v1/retrieves", params=parameters).json()["items"]


def test_workers_killed_at_random_leave_each_job_with_one_end_and_complete(ground):
    chance = random.Random(5)
    some = studies(JOBS, 6, size_bytes=2000)
    workers = [ground.suite.services["qr-worker"], ground.replica("qr-worker", "second-worker")]
    workers[1].start()
    try:
        with node_with(ground, some) as (peer, node_id):
            peer.pause_seconds = 0.15
            halves = [
                ground.ask(node_id, *map(uid_of, some[: JOBS // 2]), method="move"),
                ground.ask(node_id, *map(uid_of, some[JOBS // 2 :]), method="get"),
            ]
            assert wait_until(lambda: ground.read(halves[0])["children"].get("running"), 60)
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.4, 1.4))
                victim = chance.choice(workers)
                victim.kill()
                victim.start()
            done = [ground.over(batch, seconds=90) for batch in halves]
    finally:
        workers[1].ask_to_stop()
        assert workers[1].wait(15)
    assert [batch["state"] for batch in done] == ["complete", "complete"]
    jobs = [job for batch in halves for job in children(ground, batch)]
    found = endings(ground, *jobs)
    assert len(found) == len({ending["job_id"] for ending in found}) == JOBS
    assert {ending["state"] for ending in found} == {"complete"}
    lost = ground.suite.rows("SELECT count(*) AS n FROM job_attempts WHERE outcome = 'lost'")
    assert lost[0]["n"] >= 1, "the kills hit nothing"
    ground.require_identical([one for study in some for one in study])
    twice = "SELECT sop_instance_uid FROM instances GROUP BY 1 HAVING count(*) > 1"
    assert not ground.suite.rows(twice)


def test_a_stopped_and_continued_worker_cannot_write_over_its_successor(ground):
    study = series(40, size_bytes=1000)
    first = ground.suite.services["qr-worker"]
    second = ground.replica("qr-worker", "successor")
    with node_with(ground, [study]) as (peer, node_id):
        peer.pause_seconds = 0.1
        job = ground.ask(node_id, uid_of(study), method="get")
        ground.running(job)
        first_pid = first.pid
        os.kill(first_pid, signal.SIGSTOP)
        try:
            second.start()
            # The lease of three seconds runs out, and the successor does the job to its end.
            done = ground.over(job, seconds=40)
        finally:
            os.kill(first_pid, signal.SIGCONT)
        assert done["state"] == "complete"
        before = [(a["worker"], a["outcome"]) for a in done["history"]]
        assert [outcome for _, outcome in before] == ["lost", "complete"]
        assert before[1][0] == "successor"
        assert wait_until(lambda: "lost" in _endings_in_log(first), 60)
        after = ground.read(job)
        assert after == done
        assert len(endings(ground, job)) == 1
        # It has not only kept silent: it works on.
        tested = ground.job_over(ground.post(f"/api/v1/nodes/{node_id}/test", 201))
        assert tested["state"] == "complete", tested["error"]
    second.ask_to_stop()
    assert second.wait(15)
    ground.require_identical(study)


def _endings_in_log(process):
    return [
        line.split('"outcome": "')[1].split('"')[0]
        for line in process.last_words(200).splitlines()
        if "job.executed" in line
    ]


def test_a_wake_up_is_acknowledged_before_the_work_is_done(ground, broker):
    study = series(45, size_bytes=500)
    vhost = ground.suite.broker_url.rpartition("/")[2]
    with node_with(ground, [study]) as (peer, node_id):
        peer.pause_seconds = 0.2
        job = ground.ask(node_id, uid_of(study))
        ground.running(job)

        def queue():
            return broker.manage("GET", f"queues/{vhost}/qr-worker.job-ready")

        # The management interface is some seconds behind; the retrieve takes nine.
        assert wait_until(lambda: "messages_unacknowledged" in queue(), 60)
        assert wait_until(
            lambda: (queue()["messages_unacknowledged"], queue()["messages_ready"]) == (0, 0), 8
        )
        assert ground.read(job)["state"] == "running"
        assert ground.over(job)["state"] == "complete"
        assert [attempt["outcome"] for attempt in ground.read(job)["history"]] == ["complete"]


def test_jobs_go_on_without_a_broker_and_what_was_fetched_is_indexed_afterwards(
    tmp_path, postgres_url, template, broker
):
    study = series(5, size_bytes=1000)
    # A broker may take a minute to start.
    patient = {"DRAW_QR_WORKER_ARRIVAL_SECONDS": "10"}
    with (
        own_rabbitmq(tmp_path / "broker") as server,
        running_ground(
            tmp_path / "suite", postgres_url, template, _Given(server.url()), **patient
        ) as ground,
        node_with(ground, [study]) as (_, node_id),
    ):
        server.stop()
        tested = ground.job_over(ground.post(f"/api/v1/nodes/{node_id}/test", 201))
        assert tested["state"] == "complete", tested["error"]
        job = ground.ask(node_id, uid_of(study), method="get")
        ground.running(job)
        assert len(list(ground.suite.storage.glob("objects/**/*.dcm"))) == 5
        server.start()
        done = ground.over(job, seconds=60)
        assert (done["state"], done["result"]["arrived"]) == ("complete", 5)
        ground.require_identical(study)


class _Given:
    """A broker that is given by its URL."""

    def __init__(self, url):
        self._url = url

    @contextmanager
    def vhost(self):
        yield self._url


WORDS = {
    "down": "no connection",
    "refuses": "does not know our AE title",
    "hangs": "no answer within 1 s",
    "resets": "closed the connection",
    "garbage": "web server",
}


@pytest.mark.parametrize("fault", WORDS)
def test_a_node_in_trouble_is_tried_again_and_named_in_words(ground, fault):
    study = "1.2.3.4"
    if fault == "down":
        with faulty_peer.broken("hangs") as port:
            pass
        done = _failed(ground, port, study)
    else:
        with faulty_peer.broken(fault) as port:
            done = _failed(ground, port, study)
    assert WORDS[fault] in done["error"]
    # Refused for good is not tried again; the rest is, as often as the back-off has steps.
    outcomes = ["failed"] if fault == "refuses" else ["retry", "retry", "failed"]
    assert [attempt["outcome"] for attempt in done["history"]] == outcomes
    assert all(WORDS[fault] in attempt["error"] for attempt in done["history"])


def _failed(ground, port, study):
    job = ground.ask(ground.node(port, timeout_seconds=1), study)
    done = ground.over(job)
    assert done["state"] == "failed"
    return done


def test_a_node_that_takes_one_association_does_six_jobs_one_after_another(ground):
    some = studies(6, 4, size_bytes=500)
    with node_with(ground, some) as (peer, node_id):
        peer.association_limit = 1
        peer.pause_seconds = 0.05
        jobs = [ground.ask(node_id, uid_of(study)) for study in some]
        done = [ground.over(job, seconds=60) for job in jobs]
        node = ground.client.get(f"/api/v1/nodes/{node_id}").json()
        sent = _sent_while_another_has_the_place(ground, peer, node, uid_of(some[0]))
    assert [job["state"] for job in done] == ["complete"] * 6
    ground.require_identical([one for study in some for one in study])
    assert peer.most_open == 1
    outcomes = [attempt["outcome"] for job in done for attempt in job["history"]]
    assert set(outcomes) == {"congested", "complete"}, outcomes
    assert node["circuit"] == {}
    assert 1 <= node["congestion"]["limit"] < node["max_associations"]
    assert "limit of associations" in node["congestion"]["reason"]
    assert (sent["state"], sent["result"]["completed"]) == ("complete", 4)
    assert sent["history"][0]["outcome"] == "congested"


def test_dcmqrscp_with_one_association_does_all_jobs(ground, tmp_path):
    some = studies(5, 4, size_bytes=500)
    with peers.dcmqrscp(tmp_path, ground.suite.dicom_port, max_associations=1) as server:
        peers.fill(server, [one for study in some for one in study])
        node_id = ground.node(server.port, server.ae_title, max_associations=4)
        jobs = [ground.ask(node_id, uid_of(study)) for study in some]
        done = [ground.over(job, seconds=60) for job in jobs]
    assert [job["state"] for job in done] == ["complete"] * 5
    outcomes = [attempt["outcome"] for job in done for attempt in job["history"]]
    assert set(outcomes) <= {"congested", "complete"}, outcomes


def _sent_while_another_has_the_place(ground, peer, node, study):
    """Forward a study to a node whose only place is taken until the job was refused."""
    assert wait_until(lambda: len(peer.infos) == len(peer.ended), 60)
    other = open_association(Remote("127.0.0.1", node["port"], AE, "OTHER"), ECHO)
    body = {"kind": "send", "node_id": node["id"], "study_instance_uid": study}
    job = ground.post("/api/v1/jobs", 201, **body)

    def refused():
        found = ground.client.get(f"/api/v1/jobs/{job['id']}").json()
        return "no further association" in found["error"]

    assert wait_until(refused, 60)
    other.release()
    return ground.job_over(job, seconds=60)


def test_a_connection_cut_in_the_middle_goes_on_with_what_is_missing(ground):
    study = series(10, size_bytes=50_000)
    with (
        faulty_peer.peer(study) as (peer, peer_port),
        faulty_peer.resetting(peer_port) as (way, port),
    ):
        way.after_bytes = 240_000
        job = ground.ask(ground.node(port), uid_of(study), method="get")
        assert wait_until(lambda: way.resets, 60)
        way.after_bytes = 0
        done = ground.over(job)
    assert done["state"] == "complete", done
    assert [attempt["outcome"] for attempt in done["history"]] == ["retry", "complete"]
    assert len(peer.requests) > 1
    assert 0 < len(peer.requests[-1].SOPInstanceUID) < 10
    ground.require_identical(study)


# --- earlier studies that rules have retrieved -------------------------------------------

DAYS = ("20260110", "20260310", "20260210", "20240101")
ROUTED = (
    "SELECT parameters->>'study_instance_uid' AS study FROM jobs"
    " WHERE kind = 'retrieve' AND created_by = 'routing'"
    " AND parameters->>'patient_id' LIKE :patients"
)


def history(patient):
    """Return four studies of a patient, of which the last is too old, and that of today."""
    dated = [series(3, PatientID=patient, StudyDate=day, size_bytes=1000) for day in DAYS]
    return dated, series(2, PatientID=patient, StudyDate="20261130", StudyTime="120000")


@contextmanager
def bringing(ground, patients, most):
    """Have earlier studies of patients retrieved from a node, which is yielded with their sum."""
    histories = {patient: history(patient) for patient in patients}
    known = [study for dated, _ in histories.values() for study in dated]
    with node_with(ground, known, name="history") as (peer, node_id):
        ground.suite.admin = ground.client
        rule = {"subject": "PatientID", "operator": "is_one_of", "value": list(patients)}
        target = {"kind": "priors", "name": "priors", "remote_node": "history", "most": most}
        put_rules(
            ground.suite,
            {
                "destinations": [target],
                "rules": [{"name": "earlier", "when": rule, "destinations": ["priors"]}],
            },
        )
        try:
            yield peer, histories
        finally:
            put_rules(ground.suite, {"rules": []})
            ground.client.delete(f"/api/v1/nodes/{node_id}")


def is_delivered(ground, *objects):
    """Return whether the deliveries of these series have ended well."""
    found = deliveries(ground.suite, *(one[0].SeriesInstanceUID for one in objects))
    return [one["state"] for one in found] == ["delivered"] * len(objects)


def test_earlier_studies_are_delivered_when_all_has_arrived_and_bring_no_others(ground):
    with bringing(ground, ["PRIORS"], most=2) as (peer, histories):
        [(dated, today)] = histories.values()
        _, newest, second, _ = dated
        lacking = newest[1].SOPInstanceUID
        peer.withheld = {lacking}
        # Of another patient, and of a day that the node should not name.
        peer.objects += series(1, PatientID="PRIORS2", StudyDate="20260601")
        assert set(senders.send_objects(ground.suite.dicom_port, today)) == {0}
        retried = "SELECT error FROM job_attempts WHERE outcome = 'retry' AND error LIKE :words"
        words = "1 of 3 did not arrive%"
        assert wait_until(lambda: ground.suite.rows(retried, words=words), 60)
        [held] = deliveries(ground.suite, today[0].SeriesInstanceUID)
        assert held["finished"] is None
        peer.withheld.clear()
        assert wait_until(lambda: is_delivered(ground, today), 60)
        ground.require_identical([*newest, *second])
        [held] = deliveries(ground.suite, today[0].SeriesInstanceUID)
        assert (held["instance_count"], held["delivered_count"], held["error"]) == (6, 6, "")
        # They are complete now, and the rule applies to them.
        asked = len(peer.finds)
        assert wait_until(lambda: is_delivered(ground, newest, second), 60)
        for one in deliveries(ground.suite, newest[0].SeriesInstanceUID):
            assert "does not ask for others" in one["error"]
        assert len(peer.finds) == asked
        found = ground.suite.rows(ROUTED, patients="PRIORS%")
        assert {row["study"] for row in found} == {uid_of(newest), uid_of(second)}
        assert len(found) == 2


def test_killed_workers_bring_each_earlier_study_once(ground):
    chance = random.Random()
    patients = [f"KILLED{n}" for n in range(6)]
    workers = [ground.suite.services["qr-worker"], ground.replica("qr-worker", "third-worker")]
    workers[1].start()
    try:
        with bringing(ground, patients, most=3) as (peer, histories):
            peer.pause_seconds = peer.find_pause_seconds = 0.1
            for _, today in histories.values():
                assert set(senders.send_objects(ground.suite.dicom_port, today)) == {0}
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.2, 1.0))
                victim = chance.choice(workers)
                victim.kill()
                victim.start()
            todays = [today for _, today in histories.values()]
            assert wait_until(lambda: is_delivered(ground, *todays), 120), deliveries(
                ground.suite, *(one[0].SeriesInstanceUID for one in todays)
            )
            for dated, _ in histories.values():
                ground.require_identical([one for study in dated[:3] for one in study])
    finally:
        workers[1].ask_to_stop()
        assert workers[1].wait(15)
    found = [row["study"] for row in ground.suite.rows(ROUTED, patients="KILLED%")]
    assert len(found) == len(set(found)) == 3 * len(patients)
    batches = "SELECT id FROM jobs WHERE kind = 'batch' AND created_by = 'routing'"
    followed = (
        "SELECT d.id FROM deliveries d JOIN jobs j ON j.id = d.job_id WHERE j.kind = 'batch'"
        " AND j.created_by = 'routing'"
    )
    assert len(ground.suite.rows(batches)) == len(ground.suite.rows(followed))
