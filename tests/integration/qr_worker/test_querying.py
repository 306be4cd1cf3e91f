"""C-FIND jobs against a real association: whole, truncated, silently truncated, refused.

Cutting itself is covered by unit tests; results go to a real PostgreSQL.
"""

import itertools
from datetime import date, timedelta
from uuid import uuid4

import pytest

from draw_qr_worker.adapters.query_results import PostgresResultRepository
from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.models import ClaimedJob, JobState, Lease, RemoteNode, StatusTransient
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.querying import FindTask
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.network.statuses import DimseStatus
from support.datasets import build
from support.faulty_peer import AE, peer

pytestmark = pytest.mark.integration


def studies(count, *, days=1, times=True):
    """Return one object in each of `count` studies, spread over days and minutes."""
    first = date(2026, 1, 1)
    clock = itertools.cycle(range(1440))
    return [
        build(
            "MR" if n % 3 else "CT",
            size_bytes=0,
            StudyDate=f"{first + timedelta(days=n % days):%Y%m%d}",
            StudyTime=f"{(m := next(clock)) // 60:02d}{m % 60:02d}00" if times else "120000",
        )
        for n in range(count)
    ]


@pytest.fixture
def run(database, rows, store_of, nodes):
    """Return a function that runs a query job against a port, and what came of it."""

    def asked(port, level="STUDY", keys=None, *, limit=0, capabilities=None):
        node_id = rows.node(port=port)
        batch = rows.job(kind="batch", state="running")
        rows.execute("INSERT INTO queries (id, level) VALUES (:id, :level)", id=batch, level=level)
        parameters = {"query_id": str(batch), "level": level, "keys": keys or {}, "limit": limit}
        job_id = rows.job(node_id, kind="find", parent_id=batch, parameters=parameters)
        lease = store_of().claim(job_id).lease
        node = RemoteNode(node_id, "n", AE, "127.0.0.1", port, capabilities=capabilities or {})
        job = ClaimedJob(lease, "find", 1, 0, node, parameters=parameters)
        task = FindTask(
            RemoteNodes(lambda: "DRAW", PeerTrusts()), PostgresResultRepository(database), nodes
        )
        outcome = task.run(job, ExecutionControl(lease))
        found = rows.execute("SELECT * FROM query_results WHERE query_id = :id", id=batch)
        [node_row] = rows.execute("SELECT * FROM remote_nodes WHERE id = :id", id=node_id)
        return outcome, found, node_row

    return asked


def test_a_whole_answer_is_kept_and_complete(run):
    with peer(studies(7)) as (_, port):
        outcome, found, _ = run(port)
    assert outcome.state is JobState.COMPLETE
    assert outcome.result == {"completeness": "complete", "matches": 7, "requests": 1}
    assert len(found) == 7
    assert {row["attributes"]["PatientID"] for row in found} == {"P1"}


@pytest.mark.parametrize(
    "status", [DimseStatus.SUCCESS, DimseStatus.CANCELLED, DimseStatus.OUT_OF_RESOURCES]
)
def test_a_node_that_truncates_is_asked_in_parts_until_complete(run, status):
    with peer(studies(230, days=4)) as (provider, port):
        provider.find_limit, provider.limit_status = 50, status
        outcome, found, node = run(port)
    assert outcome.result["completeness"] == "complete"
    assert len({row["unique_key"] for row in found}) == 230
    assert 4 < outcome.result["requests"] < 60
    assert node["capabilities"]["find_limit"] == 50


def test_what_cannot_be_cut_further_is_truncated_and_says_so(run):
    with peer(studies(160, times=False)) as (provider, port):
        provider.find_limit, provider.limit_status = 50, DimseStatus.OUT_OF_RESOURCES
        outcome, found, _ = run(port)
    assert outcome.state is JobState.PARTIAL
    assert outcome.result["completeness"] == "truncated"
    assert "limit" in outcome.error
    # By modality it came as far as two parts of fifty.
    assert len(found) == 100


def test_a_round_number_of_matches_is_checked_and_found_whole(run):
    with peer(studies(100, days=2)) as (_, port):
        outcome, found, node = run(port)
    assert (outcome.state, len(found)) == (JobState.COMPLETE, 100)
    assert outcome.result["requests"] == 3
    assert "find_limit" not in node["capabilities"]


def test_the_query_stops_at_the_number_that_was_asked_for(run):
    with peer(studies(40)) as (_, port):
        outcome, found, _ = run(port, limit=15)
    assert (len(found), outcome.result["completeness"]) == (15, "truncated")


def test_the_keys_of_the_query_are_sent(run):
    with peer(studies(10, days=5)) as (provider, port):
        _, found, _ = run(port, keys={"StudyDate": "20260102-20260103", "PatientName": "É*"})
    [asked] = provider.finds
    assert (asked.StudyDate, asked.PatientName) == ("20260102-20260103", "É*")
    assert len(found) == 4


def test_a_key_of_several_values_is_asked_value_by_value(run):
    with peer(studies(10)) as (provider, port):
        keys = {"PatientID": "P1\\P2", "ModalitiesInStudy": ["CT", "MR"]}
        outcome, found, _ = run(port, keys=keys)
    asked = [(one.PatientID, one.ModalitiesInStudy) for one in provider.finds]
    assert asked == [("P1", "CT"), ("P1", "MR"), ("P2", "CT"), ("P2", "MR")]
    assert (outcome.result["completeness"], len(found)) == ("complete", 10)


def test_a_refusal_has_the_nodes_status_in_words(run):
    with peer(studies(1)) as (provider, port):
        provider.find_refusal = DimseStatus.CANNOT_UNDERSTAND
        with pytest.raises(StatusTransient, match="Cannot understand"):
            run(port)


def test_a_lost_lease_keeps_results_out(database, rows, store_of, nodes):
    results = PostgresResultRepository(database)
    batch = rows.job(kind="batch", state="running")
    rows.execute("INSERT INTO queries (id) VALUES (:id)", id=batch)
    with pytest.raises(Exception, match="no longer held"):
        results.add(Lease(uuid4(), 1), batch, rows.node(), {"1.2": {"StudyInstanceUID": "1.2"}})
    assert not rows.execute("SELECT * FROM query_results")


def test_results_expire_and_the_query_stays(database, rows):
    node = rows.node()
    for age in (timedelta(hours=1), -timedelta(hours=1)):
        batch = rows.job(kind="batch", state="complete")
        rows.execute(
            "INSERT INTO queries (id, expires_at) VALUES (:id, now() - :age)",
            id=batch,
            age=age,
        )
        rows.execute(
            "INSERT INTO query_results (query_id, node_id, unique_key) VALUES (:id, :node, '1')",
            id=batch,
            node=node,
        )
    PostgresResultRepository(database).expire()
    assert len(rows.execute("SELECT * FROM queries")) == 2
    assert len(rows.execute("SELECT * FROM query_results")) == 1
