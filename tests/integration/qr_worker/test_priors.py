"""Earlier studies from the delivery to the end of its batch, in a real PostgreSQL.

The node is in memory, and the retrieves end as each test says. Which studies are chosen is in
tests/unit/qr_worker/test_priors.py; real retrieves are in tests/faults/test_retrieves.py.
"""

import json
import random

import pytest

from draw_qr_worker.adapters.delivery_queries import PostgresDeliveryLedger
from draw_qr_worker.adapters.prior_queries import PostgresPriorRepository
from draw_qr_worker.models import (
    Cancelled,
    IndexedObject,
    Item,
    JobOutcome,
    JobState,
    LostLease,
)
from draw_qr_worker.services.deliveries import DeliveryPlanner
from draw_qr_worker.services.delivering import DeliverTask
from draw_qr_worker.services.jobs import Execution, ExecutionControl
from draw_qr_worker.services.priors import PriorsTask
from draw_qr_worker.services.retries import RetryPolicy
from draw_shared.contracts.retrieves import retrieve_key
from draw_shared.dicom.network.peer_failures import PeerTrouble
from support.priors import OLD, telling

pytestmark = pytest.mark.integration

PRIORS = {"kind": "priors", "name": "priors", "remote_node": "archive", "most": 2}
COMPLETE = JobOutcome(JobState.COMPLETE)
CT = "1.2.840.10008.5.1.4.1.1.2"


class Catalogue:
    """Has something of every study."""

    def objects(self, _subject):
        item = Item("1.1", "1.1.1", "1.1.1.1", CT)
        return [IndexedObject(item, "1.2.840.10008.1.2.1", "1.dcm", 100)]


class Bringing:
    """A worker whose deliveries to `priors` ask a node in memory."""

    def __init__(self, database, rows, store_of, nodes, node):
        self.rows = rows
        self.store = store_of()
        self.node = node
        self.node_id = rows.node(name="archive", max_associations=9)
        self.planner = DeliveryPlanner(PostgresDeliveryLedger(database))
        self.known = PostgresPriorRepository(database)
        self.task = DeliverTask(
            Catalogue(), None, None, None, None, PriorsTask(self.known, node, node)
        )
        self.execution = Execution(
            self.store,
            nodes,
            {"deliver": self.task},
            RetryPolicy(lambda low, _: low, (0.0,)),
            lambda *_: None,
        )
        self.version = 0
        self.rule(PRIORS)
        self.study("1.1", "2026-11-30")

    def rule(self, *destinations):
        self.version += 1
        self.rows.execute(
            "INSERT INTO routing_documents (version, document, created_by)"
            " VALUES (:version, CAST(:document AS jsonb), 'test')",
            version=self.version,
            document=json.dumps({"destinations": list(destinations), "rules": []}),
        )

    def study(self, uid, day, instances=1):
        self.rows.execute("INSERT INTO patients (patient_id) VALUES ('P1') ON CONFLICT DO NOTHING")
        self.rows.execute(
            "INSERT INTO studies (patient_pk, study_instance_uid, study_date, instance_count,"
            " stable_at) SELECT id, :uid, CAST(:day AS date), :instances, now() FROM patients"
            " WHERE patient_id = 'P1'",
            uid=uid,
            day=day,
            instances=instances,
        )

    def deliver(self, study="1.1", series="1.1.1", days=7):
        decision = self.rows.execute(
            "INSERT INTO routing_decisions (routing_version, trigger, study_instance_uid,"
            " series_instance_uid) VALUES (1, 'series_complete', :study, :series) RETURNING id",
            study=study,
            series=series,
        )[0]["id"]
        return self.rows.execute(
            "INSERT INTO deliveries (decision_id, destination, study_instance_uid,"
            " series_instance_uid, give_up_at) VALUES (:decision, 'priors', :study, :series,"
            " now() + make_interval(days => :days)) RETURNING id",
            decision=decision,
            study=study,
            series=series,
            days=days,
        )[0]["id"]

    def plan(self, *, deliver=True):
        """Plan, perform what deliveries want, and plan again."""
        self.planner.plan()
        if deliver:
            for job_id in self.waiting("deliver"):
                self.perform(job_id)
            self.planner.plan()

    def perform(self, job_id):
        job = self.store.claim(job_id)
        self.execution.run(job, ExecutionControl(job.lease))

    def waiting(self, kind):
        return [
            row["id"]
            for row in self.rows.execute(
                "SELECT id FROM jobs WHERE kind = :kind AND state = 'queued' ORDER BY created_at",
                kind=kind,
            )
        ]

    def retrieves(self):
        return {
            row["parameters"]["study_instance_uid"]: row
            for row in self.rows.execute("SELECT * FROM jobs WHERE kind = 'retrieve'")
        }

    def batches(self):
        return self.rows.execute("SELECT * FROM jobs WHERE kind = 'batch' ORDER BY created_at")

    def end(self, study, outcome=COMPLETE, instances=1):
        """End the retrieve of a study, of which so many instances are here then."""
        lease = self.store.claim(self.retrieves()[study]["id"]).lease
        self.store.report(lease, {"expected": 1, "arrived": instances})
        if instances:
            self.study(study, "2026-01-01", instances)
        self.store.finish(lease, outcome)

    def delivery(self, number):
        return self.rows.execute("SELECT * FROM deliveries WHERE id = :id", id=number)[0]


@pytest.fixture
def bringing(database, rows, store_of, nodes):
    return Bringing(database, rows, store_of, nodes, telling(OLD))


def states(bringing, *numbers):
    return [bringing.delivery(number)["state"] for number in numbers]


def test_a_delivery_ends_with_its_batch(bringing):
    number = bringing.deliver()
    bringing.plan()
    assert sorted(bringing.retrieves()) == ["1.3", "1.4"]
    for row in bringing.retrieves().values():
        assert (row["node_id"], row["created_by"]) == (bringing.node_id, "routing")
        assert row["subject"] == retrieve_key(
            bringing.node_id, "", study=row["parameters"]["study_instance_uid"]
        )
    [batch] = bringing.batches()
    held = bringing.delivery(number)
    assert (held["state"], held["target"], held["job_id"]) == ("running", "priors", batch["id"])
    bringing.end("1.3")
    bringing.plan()
    assert states(bringing, number) == ["running"]
    bringing.end("1.4")
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["error"]) == ("delivered", "")
    assert (held["instance_count"], held["delivered_count"]) == (2, 2)
    assert len(bringing.batches()) == 1


def test_nothing_to_bring_is_delivered(bringing):
    for uid in ("1.3", "1.4"):
        bringing.study(uid, "2026-01-01")
    number = bringing.deliver()
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["instance_count"], held["delivered_count"]) == ("delivered", 0, 0)
    assert not bringing.batches()


@pytest.mark.parametrize(
    ("outcome", "instances", "state"),
    [
        (JobOutcome(JobState.FAILED, {}, "refused"), 0, "partial"),
        (JobOutcome(JobState.PARTIAL, {}, "one is missing"), 1, "partial"),
        (JobOutcome(JobState.UNPROVED, {}, "nothing proves it"), 1, "partial"),
    ],
)
def test_a_batch_that_is_not_complete_is_no_delivery(bringing, outcome, instances, state):
    number = bringing.deliver()
    bringing.plan()
    bringing.end("1.3")
    bringing.end("1.4", outcome, instances)
    bringing.plan()
    held = bringing.delivery(number)
    assert held["state"] == state
    assert "1 of 2 earlier studies are not proved to be here" in held["error"]
    assert outcome.error in held["error"]


def test_a_batch_of_which_nothing_came_has_failed(bringing):
    number = bringing.deliver()
    bringing.plan()
    for uid in ("1.3", "1.4"):
        bringing.end(uid, JobOutcome(JobState.FAILED, {}, "refused"), 0)
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["delivered_count"]) == ("failed", 0)


def test_what_a_node_leaves_in_doubt_is_no_delivery(bringing):
    bringing.node.limits, bringing.node.says_so = {"STUDY": 1}, True
    number = bringing.deliver()
    bringing.plan()
    for uid in list(bringing.retrieves()):
        bringing.end(uid)
    bringing.plan()
    held = bringing.delivery(number)
    assert held["state"] == "partial"
    assert "stops at its limit" in held["error"]


# --- what is killed, cancelled or overtaken ---------------------------------------------


def expire(bringing, job_id):
    bringing.rows.execute(
        "UPDATE jobs SET lease_until = now() - interval '1 second' WHERE id = :id", id=job_id
    )
    bringing.store.sweep()


def test_a_worker_killed_behind_its_batch_leaves_one_batch(bringing):
    number = bringing.deliver()
    bringing.plan(deliver=False)
    [job_id] = bringing.waiting("deliver")
    killed = bringing.store.claim(job_id)
    bringing.task.run(killed, ExecutionControl(killed.lease))
    expire(bringing, job_id)
    asked = len(bringing.node.asked)
    bringing.plan()
    assert len(bringing.node.asked) == asked
    [batch] = bringing.batches()
    assert bringing.delivery(number)["job_id"] == batch["id"]
    assert sorted(bringing.retrieves()) == ["1.3", "1.4"]


def test_a_batch_is_followed_also_if_its_job_was_cancelled_then(bringing):
    number = bringing.deliver()
    bringing.plan(deliver=False)
    [job_id] = bringing.waiting("deliver")
    killed = bringing.store.claim(job_id)
    bringing.task.run(killed, ExecutionControl(killed.lease))
    bringing.rows.execute("UPDATE jobs SET cancel_requested = true WHERE id = :id", id=job_id)
    expire(bringing, job_id)
    assert bringing.rows.read(job_id)["state"] == "cancelled"
    bringing.plan()
    [batch] = bringing.batches()
    held = bringing.delivery(number)
    assert (held["state"], held["job_id"]) == ("running", batch["id"])


def test_a_worker_that_has_lost_its_lease_makes_no_batch(bringing):
    bringing.deliver()
    bringing.plan(deliver=False)
    [job_id] = bringing.waiting("deliver")
    stale = bringing.store.claim(job_id)
    expire(bringing, job_id)
    with pytest.raises(LostLease):
        bringing.task.run(stale, ExecutionControl(stale.lease))
    assert not bringing.batches()
    bringing.plan()
    assert len(bringing.batches()) == 1


def test_a_job_that_was_cancelled_while_it_asked_makes_no_batch(bringing):
    bringing.deliver()
    bringing.plan(deliver=False)
    [job_id] = bringing.waiting("deliver")
    job = bringing.store.claim(job_id)
    bringing.rows.execute("UPDATE jobs SET cancel_requested = true WHERE id = :id", id=job_id)
    with pytest.raises(Cancelled):
        bringing.task.run(job, ExecutionControl(job.lease))
    assert not bringing.batches()


def test_of_a_study_one_delivery_at_a_time_asks_the_node(bringing):
    first = bringing.deliver()
    bringing.plan()
    second, grown = bringing.deliver(series="1.1.2"), bringing.deliver()
    bringing.plan()
    assert states(bringing, first, second, grown) == ["running", "pending", "pending"]
    again = bringing.deliver()
    bringing.plan()
    assert states(bringing, first, grown, again) == ["running", "superseded", "pending"]
    for uid in ("1.3", "1.4"):
        bringing.end(uid)
    for _ in range(3):
        bringing.plan()
    # What the first has brought is there, although a later one waited to take its place.
    assert states(bringing, first, second, again) == ["delivered"] * 3
    assert len(bringing.batches()) == 1


def test_of_the_series_of_a_study_that_are_complete_at_once_one_asks_the_node(bringing):
    numbers = [bringing.deliver(series=f"1.1.{n}") for n in range(3)]
    bringing.plan()
    assert states(bringing, *numbers) == ["running", "pending", "pending"]
    assert len(bringing.node.asked) == 1
    for uid in ("1.3", "1.4"):
        bringing.end(uid)
    for _ in range(3):
        bringing.plan()
    assert states(bringing, *numbers) == ["delivered"] * 3
    assert len(bringing.batches()) == 1


def test_what_people_retrieve_already_is_not_retrieved_twice_and_waited_for(bringing):
    theirs = bringing.rows.job(
        bringing.node_id,
        kind="retrieve",
        subject=retrieve_key(bringing.node_id, "", study="1.3"),
        parameters={"study_instance_uid": "1.3"},
    )
    number = bringing.deliver()
    bringing.plan()
    assert sorted(bringing.retrieves()) == ["1.3", "1.4"]
    assert bringing.retrieves()["1.3"]["id"] == theirs
    bringing.end("1.4")
    # Its batch is complete, what others bring is not.
    bringing.plan()
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["error"]) == (
        "waiting",
        "others retrieve all of these studies already",
    )
    assert bringing.rows.read(held["job_id"])["not_before"] is not None
    bringing.end("1.3")
    bringing.rows.execute("UPDATE jobs SET not_before = now() WHERE state = 'waiting'")
    bringing.store.sweep()
    bringing.plan()
    assert states(bringing, number) == ["delivered"]
    assert len(bringing.batches()) == 1


def test_a_destination_that_is_removed_ends_its_batches(bringing):
    number = bringing.deliver()
    bringing.plan()
    bringing.rule()
    bringing.plan()
    held = bringing.delivery(number)
    assert held["state"] == "failed"
    assert "no such destination" in held["error"]
    bringing.store.sweep()
    assert {row["state"] for row in bringing.retrieves().values()} == {"cancelled"}
    assert [batch["state"] for batch in bringing.batches()] == ["cancelled"]


def test_a_batch_that_an_operator_cancels_has_failed(bringing):
    number = bringing.deliver()
    bringing.plan()
    bringing.rows.execute("UPDATE jobs SET cancel_requested = true WHERE finished_at IS NULL")
    bringing.store.sweep()
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["error"]) == ("failed", "its job was cancelled")


def test_retrieves_that_wait_are_given_up_with_the_delivery(bringing):
    number = bringing.deliver()
    bringing.plan()
    bringing.end("1.3")
    bringing.rows.execute(
        "UPDATE jobs SET state = 'waiting', error = 'away', not_before = now() + interval '1 hour'"
        " WHERE kind = 'retrieve' AND finished_at IS NULL"
    )
    bringing.plan()
    assert states(bringing, number) == ["waiting"]
    bringing.rows.execute("UPDATE deliveries SET give_up_at = now() - interval '1 second'")
    bringing.plan()
    held = bringing.delivery(number)
    assert (held["state"], held["error"], held["delivered_count"]) == ("partial", "away", 1)


# --- nodes that err ----------------------------------------------------------------------


def test_a_node_that_is_away_is_asked_again(bringing, monkeypatch):
    def away(*_):
        raise PeerTrouble("nobody listens")

    number = bringing.deliver()
    with monkeypatch.context() as patch:
        patch.setattr(bringing.node, "finder", away)
        bringing.plan()
        held = bringing.delivery(number)
        assert (held["state"], held["error"]) == ("waiting", "nobody listens")
    bringing.rows.execute("UPDATE jobs SET not_before = now()")
    bringing.store.sweep()
    bringing.plan()
    assert states(bringing, number) == ["running"]
    assert len(bringing.batches()) == 1


def test_a_node_that_refuses_is_asked_again_until_the_limit(bringing):
    bringing.node.refused = frozenset({"STUDY"})
    number = bringing.deliver()
    bringing.plan()
    assert states(bringing, number) == ["waiting"]
    bringing.rows.execute("UPDATE deliveries SET give_up_at = now() - interval '1 second'")
    bringing.plan()
    assert states(bringing, number) == ["failed"]
    assert not bringing.batches()


def test_a_patient_without_an_id_is_not_asked_for(bringing):
    bringing.rows.execute("UPDATE patients SET patient_id = '', unidentified_study_uid = '1.1'")
    number = bringing.deliver()
    bringing.plan()
    held = bringing.delivery(number)
    assert held["state"] == "failed"
    assert "no Patient ID" in held["error"]
    assert not bringing.node.asked


def test_the_second_archive_is_asked_when_the_first_is_down(bringing, monkeypatch):
    second = bringing.rows.node(name="second", max_associations=9)
    members = [PRIORS | {"name": "one"}, PRIORS | {"name": "two", "remote_node": "second"}]
    names = [one["name"] for one in members]
    group = {"kind": "group", "name": "priors", "mode": "failover", "members": names}
    bringing.rule(*members, group | {"after_failures": 1})
    finder = bringing.node.finder

    def first_is_away(node, supervision):
        if node.name == "archive":
            raise PeerTrouble("nobody listens")
        return finder(node, supervision)

    monkeypatch.setattr(bringing.node, "finder", first_is_away)
    number = bringing.deliver()
    for _ in range(4):
        bringing.plan()
        bringing.store.sweep()
    held = bringing.delivery(number)
    assert (held["state"], held["target"]) == ("running", "two")
    assert {row["node_id"] for row in bringing.retrieves().values()} == {second}
    for uid in ("1.3", "1.4"):
        bringing.end(uid)
    bringing.plan()
    assert states(bringing, number) == ["delivered"]


# --- chains ------------------------------------------------------------------------------


def test_what_was_brought_asks_for_nothing_and_what_was_here_before_does(bringing):
    bringing.study("1.4", "2026-02-01", 0)
    bringing.deliver()
    bringing.plan()
    assert sorted(bringing.retrieves()) == ["1.3", "1.4"]
    assert [bringing.known.study(uid).is_prior for uid in ("1.1", "1.4")] == [False, False]
    bringing.end("1.3")
    assert bringing.known.study("1.3").is_prior
    asked = len(bringing.node.asked)
    number = bringing.deliver("1.3", "1.3.1")
    bringing.plan()
    held = bringing.delivery(number)
    assert held["state"] == "delivered"
    assert "does not ask for others" in held["error"]
    assert len(bringing.node.asked) == asked


def test_two_studies_of_a_patient_at_once_bring_each_prior_once(bringing):
    bringing.study("1.0", "2026-11-29")
    numbers = [bringing.deliver("1.1", "1.1.1"), bringing.deliver("1.0", "1.0.1")]
    bringing.plan()
    assert sorted(bringing.retrieves()) == ["1.3", "1.4"]
    assert len(bringing.rows.execute("SELECT id FROM jobs WHERE kind = 'retrieve'")) == 2
    for uid in random.sample(["1.3", "1.4"], 2):
        bringing.end(uid)
    bringing.rows.execute("UPDATE jobs SET not_before = now() WHERE state = 'waiting'")
    bringing.store.sweep()
    bringing.plan()
    assert states(bringing, *numbers) == ["delivered"] * 2
