"""Claims, leases, fences and the sweep in a real PostgreSQL, with racing claimants."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from draw_qr_worker.models import JobOutcome, JobState, Lease, LostLease
from support.job_transitions import TRANSITIONS

pytestmark = pytest.mark.integration

COMPLETE = JobOutcome(JobState.COMPLETE, {"found": 1})


def expire(rows, job_id):
    rows.execute(
        "UPDATE jobs SET lease_until = now() - interval '1 second' WHERE id = :id", id=job_id
    )


def test_a_claim_takes_the_most_urgent_job_and_records_the_attempt(rows, store_of):
    node = rows.node(max_associations=5)
    rows.job(node, priority=5)
    urgent = rows.job(node, priority=1)
    claimed = store_of("one").claim(None)
    assert claimed.lease == Lease(urgent, 1)
    assert claimed.node.id == node
    row = rows.read(urgent)
    assert (row["state"], row["lease_owner"], row["attempts"]) == ("running", "one", 1)
    assert [a["worker"] for a in rows.attempts(urgent)] == ["one"]


def test_a_wake_up_claims_its_own_job_only(rows, store_of):
    node = rows.node(max_associations=5)
    rows.job(node, priority=1)
    meant = rows.job(node, priority=9)
    store = store_of()
    assert store.claim(meant).lease.job_id == meant
    assert store.claim(meant) is None


def test_racing_claimants_never_get_the_same_job_nor_break_the_nodes_limit(rows, store_of):
    wide, narrow = rows.node(max_associations=50), rows.node(max_associations=3)
    for _ in range(20):
        rows.job(wide)
        rows.job(narrow)
    gate = threading.Barrier(10)

    def claim_all(number):
        store, got = store_of(f"w{number}"), []
        gate.wait()
        while (job := store.claim(None)) is not None:
            got.append((job.lease.job_id, job.node.id))
        return got

    with ThreadPoolExecutor(10) as pool:
        claims = [claim for got in pool.map(claim_all, range(10)) for claim in got]
    assert len({job_id for job_id, _ in claims}) == len(claims)
    assert Counter(node for _, node in claims) == {wide: 20, narrow: 3}


def test_a_paused_node_keeps_its_jobs_but_can_be_tested(rows, store_of):
    node = rows.node(paused=True)
    rows.job(node, kind="retrieve")
    test = rows.job(node, kind="echo")
    store = store_of()
    assert store.claim(None).lease.job_id == test
    assert store.claim(None) is None


def test_finish_is_final_and_ends_the_attempt(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    lease = store.claim(None).lease
    store.report(lease, {"completed": 2})
    store.finish(lease, COMPLETE)
    row = rows.read(job_id)
    assert (row["state"], row["result"], row["progress"]) == (
        "complete",
        {"found": 1},
        {"completed": 2},
    )
    assert row["finished_at"] is not None
    [attempt] = rows.attempts(job_id)
    assert (attempt["outcome"], attempt["progress"]) == ("complete", {"completed": 2})
    with pytest.raises(LostLease):
        store.finish(lease, JobOutcome(JobState.FAILED))


def test_a_worker_that_comes_back_cannot_write_over_its_successor(rows, store_of):
    job_id = rows.job(rows.node())
    old, new = store_of("old"), store_of("new")
    stale = old.claim(None).lease
    expire(rows, job_id)
    assert new.sweep() == 1
    lease = new.claim(None).lease
    assert lease.fence > stale.fence
    for write in (
        lambda: old.renew(stale),
        lambda: old.report(stale, {"completed": 9}),
        lambda: old.finish(stale, COMPLETE),
        lambda: old.retry(stale, delay_seconds=1, error="x"),
        lambda: old.release(stale),
    ):
        with pytest.raises(LostLease):
            write()
    new.finish(lease, COMPLETE)
    assert [a["outcome"] for a in rows.attempts(job_id)] == ["lost", "complete"]


def test_a_lease_that_is_renewed_is_not_taken_back(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    lease = store.claim(None).lease
    expire(rows, job_id)
    assert store.renew(lease) is False
    assert store.sweep() == 0
    assert rows.read(job_id)["state"] == "running"


def test_renewing_tells_of_a_cancel_request(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    lease = store.claim(None).lease
    rows.execute("UPDATE jobs SET cancel_requested = true WHERE id = :id", id=job_id)
    assert store.renew(lease) is True
    assert rows.read(job_id)["state"] == "cancelling"
    store.finish(lease, JobOutcome(JobState.CANCELLED))
    assert rows.read(job_id)["state"] == "cancelled"


def test_a_cancel_request_reaches_jobs_nobody_runs(rows, store_of):
    idle = [rows.job(rows.node(), state=s) for s in ("queued", "waiting", "scheduled")]
    dead = rows.job(rows.node(), priority=1)
    store = store_of()
    assert store.claim(None).lease.job_id == dead
    expire(rows, dead)
    rows.execute("UPDATE jobs SET cancel_requested = true")
    assert store.claim(None) is None
    store.sweep()
    assert {rows.read(job_id)["state"] for job_id in [*idle, dead]} == {"cancelled"}


def test_retries_wait_and_are_counted_apart_from_lost_attempts(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    store.retry(store.claim(None).lease, delay_seconds=600, error="silent")
    row = rows.read(job_id)
    assert (row["state"], row["error"]) == ("waiting", "silent")
    assert row["not_before"] - datetime.now(UTC) > timedelta(seconds=590)
    store.sweep()
    assert store.claim(None) is None
    rows.execute("UPDATE jobs SET not_before = now()")
    store.sweep()
    assert store.claim(None).retries_used == 1
    expire(rows, job_id)
    store.sweep()
    assert store.claim(None).retries_used == 1


def test_a_released_job_can_be_claimed_at_once(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    store.release(store.claim(None).lease)
    assert store.claim(None).lease == Lease(job_id, 2)


def test_scheduled_jobs_wake_when_their_time_has_come(rows, store_of):
    now = datetime.now(UTC)
    due = rows.job(rows.node(), state="scheduled", not_before=now - timedelta(seconds=1))
    later = rows.job(rows.node(), state="scheduled", not_before=now + timedelta(hours=1))
    store_of().sweep()
    assert rows.read(due)["state"] == "queued"
    assert rows.read(later)["state"] == "scheduled"


def test_a_job_that_kills_every_worker_is_given_up(rows, store_of):
    job_id = rows.job(rows.node())
    store = store_of()
    for _ in range(20):
        assert store.claim(None) is not None
        expire(rows, job_id)
        store.sweep()
    assert rows.read(job_id)["state"] == "failed"
    assert store.claim(None) is None


def test_the_fifth_failure_parks_the_nodes_jobs_and_a_success_wakes_them(rows, store_of, nodes):
    node = rows.node()
    job_id = rows.job(node, kind="retrieve")
    store = store_of()
    for _ in range(5):
        nodes.record_failure(node, "no connection")
    store.sweep()
    row = rows.read(job_id)
    assert row["state"] == "waiting"
    assert row["not_before"] > datetime.now(UTC) + timedelta(seconds=50)
    assert store.claim(None) is None
    nodes.record_success(node)
    store.sweep()
    assert store.claim(None).lease.job_id == job_id


def test_failures_of_many_workers_are_all_counted(rows, nodes):
    node = rows.node()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: nodes.record_failure(node, "x"), range(40)))
    [row] = rows.execute("SELECT circuit FROM remote_nodes")
    assert row["circuit"]["failures"] == 40


def test_refusals_of_many_jobs_at_once_leave_one_and_none_has_used_a_try(rows, store_of, nodes):
    node = rows.node(max_associations=4)
    ids = [rows.job(node, kind="retrieve") for _ in range(4)]
    store = store_of()
    claimed = [store.claim(None) for _ in range(4)]
    with ThreadPoolExecutor(3) as pool:
        list(
            pool.map(lambda job: store.requeue_congested(job, "its limit is reached"), claimed[:3])
        )
    [row] = rows.execute("SELECT congestion, circuit FROM remote_nodes")
    assert (row["congestion"]["limit"], row["circuit"]) == (1, {})
    assert row["congestion"]["reason"] == "its limit is reached"
    given_back = [rows.read(job.lease.job_id) for job in claimed[:3]]
    assert {job["state"] for job in given_back} == {"queued"}
    assert {job["error"] for job in given_back} == {"its limit is reached"}
    assert store.claim(None) is None
    store.finish(claimed[3].lease, COMPLETE)
    again = store.claim(None)
    assert (again.lease.job_id in ids, again.retries_used) == (True, 0)
    with pytest.raises(LostLease):
        store.requeue_congested(claimed[3], "too late")


def test_a_node_that_refuses_our_only_job_rests_and_recovers_by_and_by(rows, store_of, nodes):
    node = rows.node(max_associations=2)
    rows.job(node)
    store = store_of()
    store.requeue_congested(store.claim(None), "temporary congestion")
    assert store.claim(None) is None
    nodes.record_success(node)
    job = store.claim(None)
    assert job.node.congestion.refusals == 0
    store.finish(job.lease, COMPLETE)
    nodes.relieve()
    assert rows.execute("SELECT congestion FROM remote_nodes")[0]["congestion"]["limit"] == 1
    long_ago = (datetime.now(UTC) - timedelta(seconds=61)).isoformat()
    rows.execute(
        "UPDATE remote_nodes SET congestion = congestion || jsonb_build_object('changed_at',"
        " CAST(:at AS text))",
        at=long_ago,
    )
    nodes.relieve()
    assert rows.execute("SELECT congestion FROM remote_nodes")[0]["congestion"] == {}


def test_a_closed_window_parks_jobs_until_it_opens(rows, store_of):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%a").lower()
    window = {"days": [tomorrow], "start": "03:00", "end": "04:00"}
    job_id = rows.job(rows.node(windows=[window]), kind="retrieve")
    store_of().sweep()
    row = rows.read(job_id)
    assert row["state"] == "waiting"
    assert row["not_before"].astimezone(UTC).strftime("%a %H:%M").lower() == f"{tomorrow} 03:00"


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        (["complete", "complete"], "complete"),
        (["complete", "failed"], "partial"),
        (["complete", "unproved"], "unproved"),
        (["unproved", "partial"], "partial"),
        (["failed", "failed"], "failed"),
        (["cancelled", "cancelled"], "cancelled"),
        (["complete", "running"], "running"),
    ],
)
def test_a_batch_ends_with_its_last_child(rows, store_of, children, expected):
    batch = rows.job(kind="batch", state="running")
    for state in children:
        finished_at = None if state == "running" else datetime.now(UTC)
        rows.job(parent_id=batch, state=state, kind="retrieve", finished_at=finished_at)
    store_of().sweep()
    assert rows.read(batch)["state"] == expected


def test_every_change_of_state_is_one_that_the_state_machine_knows(rows, store_of):
    rows.execute("CREATE TABLE seen (before text, after text)")
    rows.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (old.state, new.state); RETURN new; END $$"
    )
    rows.execute(
        "CREATE TRIGGER note AFTER UPDATE OF state ON jobs FOR EACH ROW"
        " WHEN (old.state <> new.state) EXECUTE FUNCTION note()"
    )
    store = store_of()
    for end in (
        lambda lease: store.finish(lease, COMPLETE),
        lambda lease: store.retry(lease, delay_seconds=0, error="x"),
        store.release,
        lambda lease: expire(rows, lease.job_id),
    ):
        rows.job(rows.node())
        end(store.claim(None).lease)
        store.sweep()
    rows.execute("UPDATE jobs SET cancel_requested = true")
    store.sweep()
    seen = rows.execute("SELECT DISTINCT before, after FROM seen")
    assert len(seen) >= 6
    for change in seen:
        assert JobState(change["after"]) in TRANSITIONS[JobState(change["before"])], change


STUDY_AND_SERIES = {"1", "1.1", "1.2"}
ONE_SERIES = {"study_instance_uid": "1", "series_instance_uid": "1.1"}


@pytest.mark.parametrize(
    ("about", "outcome", "arrives_here", "proved"),
    [
        ({"study_instance_uid": "1"}, COMPLETE, True, STUDY_AND_SERIES),
        ({"accession_number": "A"}, COMPLETE, True, STUDY_AND_SERIES),
        (ONE_SERIES, COMPLETE, True, {"1.1", "1.2"}),
        (ONE_SERIES | {"sop_instance_uids": ["1.1.1"]}, COMPLETE, True, set()),
        ({"study_instance_uid": "1"}, JobOutcome(JobState.UNPROVED, {}), True, set()),
        ({"study_instance_uid": "1"}, JobOutcome(JobState.PARTIAL, {}), True, set()),
        ({"study_instance_uid": "1"}, COMPLETE, False, set()),
    ],
)  # fmt: skip
def test_a_complete_retrieve_proves_what_it_brought(
    rows, store_of, about, outcome, arrives_here, proved
):
    job = rows.job(rows.node(), kind="retrieve", parameters=about)
    for series in ("1.1", "1.2"):
        rows.execute(
            "INSERT INTO retrieve_items (job_id, study_instance_uid, series_instance_uid,"
            " sop_instance_uid, arrives_here, arrived_at)"
            " VALUES (:job, '1', :series, :series || '.1', :here, now())",
            job=job,
            series=series,
            here=arrives_here,
        )
    store = store_of()
    store.finish(store.claim(job).lease, outcome)
    found = rows.execute("SELECT uid FROM proved_arrivals")
    assert {row["uid"] for row in found} == proved


def test_any_other_complete_job_proves_nothing(rows, store_of):
    store = store_of()
    store.finish(store.claim(rows.job(rows.node())).lease, COMPLETE)
    assert rows.execute("SELECT uid FROM proved_arrivals") == []
