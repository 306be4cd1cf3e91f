"""Queries, retrieves and forwarding over REST against Orthanc, dcmqrscp and a peer of our own.

Killed and stopped workers are in tests/faults; TLS towards nodes is not covered.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from draw_shared.dicom.encoding import uids
from support import faulty_peer, peers
from support.datasets import series
from support.generated_node import NUMBERS, GeneratedNode, Index, rows_of
from support.retrieving import ground as running_ground
from support.retrieving import studies, uid_of
from support.suite import all_pages
from support.waiting import wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/retrieve_client.py"
CUT_BYTES = 400
QUIET_SECONDS = 60
"""As the configuration has it at first."""

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ground(tmp_path_factory, postgres_url, template, broker):
    folder = tmp_path_factory.mktemp("retrieves")
    with running_ground(folder, postgres_url, template, broker) as made:
        yield made


@pytest.fixture(scope="module")
def orthanc(ground, tmp_path_factory):
    folder = tmp_path_factory.mktemp("orthanc")
    with peers.orthanc(folder, ground.suite.dicom_port) as server:
        yield _known(server, ground.node(server.port, server.ae_title, max_associations=4))


@pytest.fixture(scope="module")
def dcmqrscp(ground, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with peers.dcmqrscp(folder, ground.suite.dicom_port) as server:
        yield _known(server, ground.node(server.port, server.ae_title))


@pytest.fixture(scope="module")
def limited(ground, tmp_path_factory):
    """An Orthanc that stops after ten matches."""
    folder = tmp_path_factory.mktemp("limited")
    limits = {"LimitFindResults": 10, "LimitFindInstances": 10}
    with peers.orthanc(folder, ground.suite.dicom_port, **limits) as server:
        yield _known(server, ground.node(server.port, server.ae_title))


def _known(server, node_id):
    return SimpleNamespace(port=server.port, ae_title=server.ae_title, node_id=node_id)


@pytest.fixture
def real(request):
    """One of the real peers, by name."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def faulty(ground):
    """Return a context manager for a node of our own that has these objects."""

    @contextmanager
    def made(objects=(), **settings):
        with faulty_peer.peer(objects, ground.suite.dicom_port) as (provider, port):
            provider.node_id = ground.node(port, **settings)
            yield provider

    return made


def answering(objects, **faults):
    """Return how a node answers about these objects, honestly but for its faults."""
    numbers = faults.pop("numbers", {name: (lambda number: number) for name in NUMBERS})
    return GeneratedNode(rows_of(objects), Index(), numbers=numbers, **faults)


both = pytest.mark.parametrize("real", ["orthanc", "dcmqrscp"], indirect=True)


@both
def test_a_node_is_tested_and_probed_and_the_result_is_kept(ground, real):
    tested = ground.job_over(ground.post(f"/api/v1/nodes/{real.node_id}/test", 201))
    assert (tested["state"], tested["result"]["reachable"]) == ("complete", True)
    probed = ground.job_over(ground.post(f"/api/v1/nodes/{real.node_id}/probe", 201))
    assert probed["state"] == "complete"
    node = ground.client.get(f"/api/v1/nodes/{real.node_id}").json()
    assert node["last_test"]["reachable"] is True
    assert node["capabilities"]["study_find"] is node["capabilities"]["study_move"] is True
    assert node["capabilities"]["implementation_version"]


def test_two_nodes_are_queried_at_once_and_the_answer_is_kept(ground, orthanc, dcmqrscp):
    marked = [
        series(2, PatientID="QUERIED", StudyDate=f"2026020{day}", PatientName=name)
        for day, name in ((1, "Ä^One"), (2, "B^Two"), (3, "C^Three"))
    ]
    peers.fill(orthanc, [one for study in marked for one in study])
    peers.fill(dcmqrscp, marked[0])
    body = {
        "level": "STUDY",
        "keys": {"PatientID": "QUER*", "StudyDate": "20260201-20260202"},
        "node_ids": [orthanc.node_id, dcmqrscp.node_id],
    }
    asked = ground.post("/api/v1/queries", 201, **body)
    done = ground.query_over(asked)
    assert (done["state"], done["completeness"], done["matches"]) == ("complete", "complete", 3)
    assert [node["matches"] for node in done["nodes"]] == [2, 1]
    path = f"/api/v1/queries/{done['id']}/results"
    found = all_pages(ground.client, path, sort="-StudyDate", limit=2)
    dates = [match["attributes"]["StudyDate"] for match in found]
    assert dates == ["20260202", "20260201", "20260201"]
    assert found[0]["attributes"]["NumberOfStudyRelatedInstances"] in {2, "2"}
    named = all_pages(ground.client, path, search="b^two")
    assert [match["attributes"]["StudyInstanceUID"] for match in named] == [uid_of(marked[1])]
    again = ground.client.post("/api/v1/queries", json=body)
    assert (again.status_code, again.json()["id"]) == (200, done["id"])
    anew = ground.post(f"/api/v1/queries/{done['id']}/rerun", 201)
    assert anew["id"] != done["id"]
    assert ground.query_over(anew)["matches"] == 3
    history = ground.client.get("/api/v1/queries").json()["items"]
    assert [query["id"] for query in history[:2]] == [anew["id"], done["id"]]


def test_what_people_type_finds_what_is_there_and_names_are_readable(ground, orthanc, faulty):
    study = series(1, PatientName="Müller^Jürgen", StudyDate="20261101", StudyTime="103015")
    peers.fill(orthanc, study)
    typed = {"StudyDate": "01.11.2026", "StudyTime": "10:30", "PatientName": "Müller, J"}
    with faulty(study) as peer:
        peer.undeclared_utf_8 = True
        nodes = [orthanc.node_id, peer.node_id]
        asked = ground.post("/api/v1/queries", 201, keys=typed, node_ids=nodes)
        done = ground.query_over(asked)
        names = {keyword: done["keys"][keyword] for keyword in typed}
        assert names == {
            "StudyDate": "20261101",
            "StudyTime": "103000-103059.999999",
            "PatientName": "Müller^J*",
        }
        assert [str(peer.finds[0][keyword].value) for keyword in names] == list(names.values())
    assert [node["matches"] for node in done["nodes"]] == [1, 1]
    found = all_pages(ground.client, f"/api/v1/queries/{done['id']}/results")
    assert [match["attributes"]["PatientName"] for match in found] == ["Müller^Jürgen"] * 2
    unclear = {"keys": {"StudyDate": "03/04/2026"}, "node_ids": nodes}
    [problem] = ground.post("/api/v1/queries", 422, **unclear)["errors"]
    assert problem["field"] == "keys.StudyDate"
    assert "3 April or 4 March" in problem["message"]


@both
@pytest.mark.parametrize("method", ["move", "get"])
def test_a_study_comes_complete_with_identical_data_sets(ground, real, method):
    study = series(12, size_bytes=40_000)
    peers.fill(real, study)
    done = ground.over(ground.ask(real.node_id, uid_of(study), method=method))
    assert done["state"] == "complete", done
    assert done["result"]["expected"] == done["result"]["arrived"] == 12
    assert done["progress"]["bytes"] > 12 * 38_000
    ground.require_identical(study)
    completed = ground.suite.wait_for_rows(
        2,
        "SELECT kind, new_instance_count AS new, reason FROM changes WHERE reason <> ''"
        " AND study_instance_uid = :uid ORDER BY sequence",
        QUIET_SECONDS / 2,
        uid=uid_of(study),
    )
    # After a C-MOVE the release of its associations may be known before the job has ended.
    assert completed[0].pop("reason") in {"proved", {"move": "association_ended"}.get(method)}
    assert completed == [
        {"kind": "series.stable", "new": 12},
        {"kind": "study.stable", "new": 12, "reason": "proved"},
    ]
    again = ground.over(ground.ask(real.node_id, uid_of(study), method=method))
    assert (again["state"], again["result"]["already_here"]) == ("complete", 12)
    assert again["result"]["node_said"] == ""


def test_a_list_of_100_studies_comes_complete(ground, orthanc):
    many = studies(100, 1, size_bytes=1500)
    peers.fill(orthanc, [one for study in many for one in study])
    text = "Name;Study Instance UID\n" + "".join(f"x;{uid_of(study)}\n" for study in many)
    answer = ground.client.post(
        "/api/v1/retrieves/csv",
        params={"node_id": orthanc.node_id},
        content=text,
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 201, answer.text
    done = ground.over(answer.json(), seconds=90)
    assert (done["state"], done["children"]) == ("complete", {"complete": 100})
    assert done["progress"]["arrived"] == 100
    ground.require_identical([one for study in many for one in study])


def test_a_real_node_that_stops_at_its_limit_is_read_out_or_doubted(ground, limited):
    dated = [
        series(1, size_bytes=500, PatientID="LIMITED", StudyDate=f"202603{day:02d}")
        for day in range(10, 25)
    ]
    wide = [
        one
        for _ in range(15)
        for one in series(1, size_bytes=500, PatientID="WIDE", StudyInstanceUID="1.2.826.77")
    ]
    long = series(25, size_bytes=500, PatientID="LONG")
    same = [series(1, size_bytes=500, PatientID="SAME") for _ in range(12)]
    peers.fill(limited, [one for study in (*dated, *same) for one in study])
    peers.fill(limited, wide)
    peers.fill(limited, long)
    done = ground.over(ground.ask(limited.node_id, {"patient_id": "LIMITED"}), seconds=60)
    assert (done["state"], done["result"]["arrived"]) == ("complete", 15), done
    for objects in (wide, long):
        done = ground.over(ground.ask(limited.node_id, uid_of(objects)))
        assert (done["state"], done["result"]["arrived"]) == ("complete", len(objects)), done
        ground.require_identical(objects)
    # Twelve studies of one second: ten are named at a time, and nothing says that they are all.
    done = ground.over(ground.ask(limited.node_id, {"patient_id": "SAME"}), seconds=60)
    assert done["state"] in {"unproved", "partial"}, done
    node = ground.client.get(f"/api/v1/nodes/{limited.node_id}").json()
    assert node["find_limit"] == 10


@pytest.mark.parametrize(
    ("model", "state"),
    [("study", "complete"), ("patient", "complete"), ("patient_study", "unproved")],
)
def test_a_real_node_is_retrieved_from_in_every_model(ground, dcmqrscp, model, state):
    study = series(4, size_bytes=1000, PatientID=f"MODEL{len(model)}")
    peers.fill(dcmqrscp, study)
    node_id = ground.node(dcmqrscp.port, dcmqrscp.ae_title, query_model=model)
    done = ground.over(ground.ask(node_id, {"patient_id": study[0].PatientID}))
    assert (done["state"], done["result"]["arrived"]) == (state, 4), done
    ground.require_identical(study)
    again = ground.over(ground.ask(node_id, uid_of(study), force=True))
    assert again["state"] == state, again


def test_a_list_is_asked_of_two_nodes_and_what_is_missing_retrieved(ground, orthanc, dcmqrscp):
    both = series(3, size_bytes=1000, PatientID="LIST-1", AccessionNumber="L1")
    there = series(4, size_bytes=1000, PatientID="LIST-2", AccessionNumber="L2")
    twice = [series(1, size_bytes=1000, PatientID="LIST-3") for _ in range(2)]
    peers.fill(orthanc, both + twice[0] + twice[1])
    peers.fill(dcmqrscp, both + there)
    answer = ground.client.post(
        "/api/v1/batch-queries/csv",
        params={"node_id": [orthanc.node_id, dcmqrscp.node_id]},
        files={
            "file": ("l.csv", "sep=;\r\nPatient ID;Accession No.\r\nLIST-1;L1\r\n;L2\r\nLIST-3\r\n"
            "NOBODY\r\n".encode("utf-16"))
        },
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    path = answer.headers["Location"]
    ground.list_over(path)
    lines = ground.client.get(f"{path}/lines").json()["items"]
    states = {(line["number"], line["node_id"]): line["state"] for line in lines}
    assert [states[n, orthanc.node_id] for n in (3, 4, 5, 6)] == [
        "found", "not_found", "several", "not_found",
    ]  # fmt: skip
    assert [states[n, dcmqrscp.node_id] for n in (3, 4, 5, 6)] == [
        "found", "found", "not_found", "not_found",
    ]  # fmt: skip
    begun = ground.post(f"{path}/retrieve", 201, several=False)
    assert begun["studies"] == 2
    for retrieve in begun["retrieves"]:
        assert ground.over(retrieve)["state"] == "complete"
    ground.require_identical(both + there)
    whole = ground.client.get(path).json()
    # dcmqrscp names no number of objects: how much of its two studies is here stays unknown.
    assert (whole["state"], whole["studies_missing"]) == ("complete", 4)
    table = ground.client.get(f"{path}/export.csv").text
    kinds = ("found,complete", "found,unknown", "several,no")
    assert [table.count(f",{kind},") for kind in kinds] == [1, 2, 2]


def test_the_studies_of_an_accession_number_are_looked_up(ground, orthanc):
    study = series(3, size_bytes=1000, AccessionNumber="ACC77")
    peers.fill(orthanc, study)
    done = ground.over(ground.ask(orthanc.node_id, {"accession_number": "ACC77"}))
    assert (done["state"], done["result"]["arrived"]) == ("complete", 3)
    none = ground.over(ground.ask(orthanc.node_id, {"accession_number": "NOBODY"}))
    assert (none["state"], none["attempts"]) == ("failed", 1)
    assert "no study" in none["error"]


@pytest.mark.parametrize("method", ["move", "get"])
def test_what_a_node_withholds_is_missing_and_a_retry_fetches_only_that(ground, faulty, method):
    study = series(20, size_bytes=1000)
    withheld = {one.SOPInstanceUID for one in study[3:18:7]}
    with faulty(study) as peer:
        peer.withheld = set(withheld)
        job = ground.over(ground.ask(peer.node_id, uid_of(study), method=method))
        assert (job["state"], job["result"]["missing"]) == ("partial", 3)
        assert set(job["result"]["missing_sop_instance_uids"]) == withheld == ground.missing(job)
        assert "3 of 20 did not arrive" in job["error"]
        assert "Success (0x0000)" in job["error"]
        peer.withheld.clear()
        peer.requests.clear()
        retry = ground.post(f"/api/v1/retrieves/{job['id']}/retry", 201)
        assert retry["retry_of"] == job["id"]
        done = ground.over(retry)
        assert (done["state"], done["result"]["arrived"]) == ("complete", 20)
        assert done["result"]["already_here"] == 17
        [request] = peer.requests
        assert request.QueryRetrieveLevel == "IMAGE"
        assert set(request.SOPInstanceUID) == withheld
        ground.require_identical(study)
        ground.post(f"/api/v1/retrieves/{done['id']}/retry", 409)


@pytest.mark.parametrize("method", ["move", "get"])
def test_what_has_lost_its_file_is_fetched_again(ground, faulty, method):
    study = series(6, size_bytes=1000)
    gone, cut = study[1].SOPInstanceUID, study[4].SOPInstanceUID
    with faulty(study) as peer:
        assert ground.over(ground.ask(peer.node_id, uid_of(study)))["state"] == "complete"
        ground.file_of(gone).unlink()
        os.truncate(ground.file_of(cut), CUT_BYTES)
        peer.withheld, peer.requests = {gone}, []
        job = ground.over(ground.ask(peer.node_id, uid_of(study), method=method))
        assert (job["state"], ground.missing(job)) == ("partial", {gone})
        assert job["result"]["already_here"] == 4
        [request] = peer.requests
        assert set(request.SOPInstanceUID) == {gone, cut}
        peer.withheld.clear()
        done = ground.over(ground.post(f"/api/v1/retrieves/{job['id']}/retry", 201))
        assert (done["state"], done["result"]["arrived"]) == ("complete", 6)
        # The row moves from the damaged file to the whole one a moment later.
        assert wait_until(lambda: ground.file_of(cut).stat().st_size > CUT_BYTES, 60)
        ground.require_identical(study)


def test_a_retry_brings_again_what_was_deleted_since(ground, faulty):
    study = series(6)
    with faulty(study) as peer:
        peer.withheld = {study[2].SOPInstanceUID}
        job = ground.over(ground.ask(peer.node_id, uid_of(study)))
        assert (job["state"], job["result"]["arrived"]) == ("partial", 5)
        path = f"/api/v1/studies/{uid_of(study)}"
        answer = ground.client.delete(path, params={"reason": "wrong patient"})
        assert answer.status_code < 300, answer.text
        assert wait_until(lambda: not ground.stored(study), 60)
        peer.withheld.clear()
        done = ground.over(ground.post(f"/api/v1/retrieves/{job['id']}/retry", 201))
        assert (done["state"], done["result"]["arrived"]) == ("complete", 6)
        assert done["result"]["already_here"] == 0
        ground.require_identical(study)


@pytest.mark.parametrize("method", ["move", "get"])
@pytest.mark.parametrize("heeds", [True, False])
def test_cancel_ends_a_running_retrieve_within_three_seconds(ground, faulty, method, heeds):
    study = series(100, size_bytes=500)
    with faulty(study) as peer:
        peer.pause_seconds, peer.heeds_cancel = 0.2, heeds
        job = ground.ask(peer.node_id, uid_of(study), method=method)
        ground.running(job)
        began = time.monotonic()
        ground.post(f"/api/v1/retrieves/{job['id']}/cancel", 200)
        done = ground.over(job, seconds=10)
        assert time.monotonic() - began < 3
        assert done["state"] == "cancelled"
        assert bool(peer.cancels_heeded) is heeds
        ground.post(f"/api/v1/retrieves/{job['id']}/cancel", 409)


def test_a_batch_is_cancelled_with_all_its_jobs(ground, faulty):
    some = studies(6, 30, size_bytes=500)
    with faulty([one for study in some for one in study]) as peer:
        peer.pause_seconds = 0.2
        batch = ground.ask(peer.node_id, *map(uid_of, some))
        assert wait_until(lambda: ground.read(batch)["children"].get("running"), 60)
        ground.post(f"/api/v1/retrieves/{batch['id']}/cancel", 200)
        done = ground.over(batch, seconds=6)
        assert (done["state"], done["children"]) == ("cancelled", {"cancelled": 6})


def test_statuses_of_the_node_decide_what_is_tried_again(ground, faulty):
    study = series(2, size_bytes=500)
    with faulty(study) as peer:
        peer.retrieve_refusal = 0xA801
        done = ground.over(ground.ask(peer.node_id, uid_of(study)))
        assert (done["state"], done["attempts"]) == ("failed", 1)
        assert "Move destination unknown (0xA801)" in done["error"]
        peer.retrieve_refusal = 0xA702
        done = ground.over(ground.ask(peer.node_id, uid_of(study)))
        assert (done["state"], done["attempts"]) == ("failed", 3)


def test_of_a_node_without_queries_nothing_is_proved(ground, faulty):
    study = series(5, size_bytes=500)
    with faulty(study) as peer:
        peer.find_refusal = 0xA900
        done = ground.over(ground.ask(peer.node_id, uid_of(study)))
        assert (done["state"], done["result"]["expected"]) == ("unproved", None)
        assert done["result"]["arrived"] == 5
        assert "does not say what it has" in done["error"]
        ground.post(f"/api/v1/retrieves/{done['id']}/retry", 201)


def test_only_what_was_asked_for_is_fetched_from_a_node_that_ignores_keys(ground, faulty):
    own = series(2, size_bytes=500, PatientID="PREFIX", AccessionNumber="MINE")
    others = [
        series(2, size_bytes=500, PatientID="PREFIX2", AccessionNumber="MINE"),
        series(2, size_bytes=500, PatientID="PREFIX", AccessionNumber="THEIRS"),
    ]
    objects = [one for study in (own, *others) for one in study]
    with faulty(objects) as peer:
        peer.answers = answering(
            objects, prefixes=True, ignored=frozenset({"AccessionNumber"}), doubled=True
        )
        item = {"patient_id": "PREFIX", "accession_number": "MINE"}
        done = ground.over(ground.ask(peer.node_id, item))
        assert (done["state"], done["result"]["arrived"]) == ("complete", 2), done
        assert done["result"]["not_fetched"] == 2
        named = done["result"]["not_fetched_study_instance_uids"]
        assert set(named) == set(map(uid_of, others))
        assert {one.StudyInstanceUID for one in peer.requests} == {uid_of(own)}
        page = ground.client.get(f"/jobs/{done['id']}").text
        assert "2 studies that the node named do not match this job" in page
        # Without the attribute in the answer nothing shows that a study fits.
        peer.answers.left_out = frozenset({"AccessionNumber"})
        none = ground.over(ground.ask(peer.node_id, item, force=True))
        assert (none["state"], "do not fit" in none["error"]) == ("failed", True)
    assert not ground.stored([one for study in others for one in study])


def test_a_node_that_would_have_an_archive_pulled_is_refused(ground, faulty):
    with faulty() as peer:
        peer.answers = answering([one for _ in range(101) for one in series(1, PatientID="MANY")])
        done = ground.over(ground.ask(peer.node_id, {"patient_id": "MANY"}))
        assert (done["state"], done["attempts"]) == ("failed", 1)
        assert "more than 100 studies" in done["error"]
        assert not peer.requests


@pytest.mark.parametrize("method", ["move", "get"])
@pytest.mark.parametrize(
    ("faults", "state"),
    [
        ({"empty": frozenset({"IMAGE"})}, "complete"),
        ({"limits": {"IMAGE": 4}, "numbers": {}, "says_so": True}, "unproved"),
        ({"limits": {"SERIES": 1}}, "complete"),
    ],
)
def test_lists_that_are_short_are_no_proof(ground, faulty, faults, state, method):
    first = series(6, size_bytes=500)
    more = series(3, size_bytes=500, StudyInstanceUID=uid_of(first))
    study = [*first, *more]
    with faulty(study) as peer:
        peer.answers = answering(study, **faults)
        peer.limit_status = 0xA700
        done = ground.over(ground.ask(peer.node_id, uid_of(study), method=method))
        assert (done["state"], done["result"]["arrived"]) == (state, 9), done
        assert [one.QueryRetrieveLevel for one in peer.requests] == ["STUDY"]
        if state == "unproved":
            assert "nothing proves that 9 objects are all" in done["error"]
            assert "Unproved: nothing is known to be missing" in (
                ground.client.get(f"/jobs/{done['id']}").text
            )


def test_every_request_of_a_hierarchical_model_holds_the_keys_above(ground, faulty):
    study = series(3, size_bytes=500, PatientID="HIER")
    with faulty(study, query_model="patient") as peer:
        peer.answers = answering(study, accepted=frozenset({"patient", "study"}))
        done = ground.over(ground.ask(peer.node_id, uid_of(study)))
        assert (done["state"], done["result"]["arrived"]) == ("complete", 3), done
        assert peer.syntaxes[0] == uids.STUDY_ROOT_FIND
        assert set(peer.syntaxes[1:]) == {uids.PATIENT_ROOT_FIND, uids.PATIENT_ROOT_MOVE}
        assert {one.PatientID for one in (*peer.finds[1:], *peer.requests)} == {"HIER"}
        query = {"level": "IMAGE", "node_ids": [peer.node_id]}
        keys = {"StudyInstanceUID": uid_of(study), "SeriesInstanceUID": study[0].SeriesInstanceUID}
        peer.finds.clear()
        found = ground.query_over(ground.post("/api/v1/queries", 201, keys=keys, **query))
        assert (found["state"], found["matches"]) == ("complete", 3)
    with faulty(study) as peer:
        query = {"level": "PATIENT", "keys": {"PatientID": "HI*"}, "node_ids": [peer.node_id]}
        found = ground.query_over(ground.post("/api/v1/queries", 201, **query))
        assert {one.QueryRetrieveLevel for one in peer.finds} == {"STUDY"}


def test_results_appear_while_a_query_runs_and_stay_when_it_is_cancelled(ground, faulty):
    some = [one for n in range(200) for one in series(1, PatientID="SLOW")]
    with faulty(some) as peer:
        peer.find_pause_seconds = 0.05
        query = ground.post("/api/v1/queries", 201, node_ids=[peer.node_id])
        path = f"/api/v1/queries/{query['id']}"
        assert wait_until(lambda: all_pages(ground.client, f"{path}/results"), 60)
        assert ground.client.get(path).json()["state"] == "running"
        ground.post(f"{path}/cancel", 200)
        done = ground.query_over(query)
        kept = len(all_pages(ground.client, f"{path}/results", limit=100))
        assert (done["state"], done["completeness"]) == ("cancelled", "truncated")
        assert done["matches"] == kept
        assert 0 < kept < 200


def test_other_destinations_are_judged_by_the_nodes_counts(ground, faulty):
    study = series(4, size_bytes=500)
    with faulty_peer.peer() as (other, other_port), faulty(study) as peer:
        peer.destination_port = other_port
        job = ground.ask(peer.node_id, uid_of(study), destination="OTHER")
        done = ground.over(job)
        assert (done["state"], done["result"]["completed"]) == ("complete", 4)
        assert len(other.stored) == 4
    assert not ground.stored(study)


def test_what_is_on_the_way_is_not_asked_for_twice_and_a_paused_node_waits(ground, faulty):
    study = series(3, size_bytes=500)
    with faulty(study) as peer:
        ground.post(f"/api/v1/nodes/{peer.node_id}/pause", 200)
        job = ground.ask(peer.node_id, uid_of(study))
        same = ground.ask(peer.node_id, uid_of(study), status=200)
        assert same["id"] == job["id"]
        time.sleep(1)
        assert ground.read(job)["state"] == "queued"
        assert not peer.requests
        ground.post(f"/api/v1/nodes/{peer.node_id}/resume", 200)
        assert ground.over(job)["state"] == "complete"
        assert len(peer.requests) == 1


def test_a_job_waits_for_its_time_and_its_window_unless_it_becomes_urgent(ground, faulty):
    first, second = studies(2, 1, size_bytes=500)
    with faulty([*first, *second]) as peer:
        soon = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 2))
        timed = ground.ask(peer.node_id, uid_of(first), not_before=soon)
        assert timed["state"] == "scheduled"
        tomorrow = time.strftime("%a", time.localtime(time.time() + 86400)).lower()
        window = {"days": [tomorrow], "start": "00:00", "end": "23:59"}
        held = ground.ask(peer.node_id, uid_of(second), windows=[window])
        assert ground.over(timed)["state"] == "complete"
        assert ground.read(held)["state"] == "waiting"
        assert "window" in ground.read(held)["error"]
        assert [a["outcome"] for a in ground.read(held)["history"]] == ["postponed"]
        urgent = ground.ask(peer.node_id, uid_of(second), priority=1, status=200)
        assert urgent["id"] == held["id"]
        assert ground.over(held)["state"] == "complete"


def test_progress_is_streamed_by_every_replica_until_the_end(ground, faulty):
    study = series(30, size_bytes=2000)
    replica = ground.replica("api", "second-api")
    with faulty(study) as peer:
        replica.start()
        try:
            peer.pause_seconds = 0.1
            assert wait_until(replica.ready, 60)
            job = ground.ask(peer.node_id, uid_of(study), method="get")
            url = f"http://127.0.0.1:{replica.http_port}/api/v1/retrieves/{job['id']}/events"
            events = _streamed(url, ground.client.cookies)
        finally:
            replica.ask_to_stop()
            assert replica.wait(10)
    assert [name for name, _ in events][-1] == "end"
    arrived = [document["progress"].get("arrived", 0) or 0 for _, document in events]
    assert arrived == sorted(arrived)
    assert len(set(arrived)) > 2
    middle = next(d for _, d in events if 0 < (d["progress"].get("arrived") or 0) < 30)
    assert middle["progress"]["bytes_per_second"] > 0
    assert middle["progress"]["eta_seconds"] > 0
    assert events[-1][1]["state"] == "complete"


def _streamed(url, cookies):
    events, name = [], ""
    with httpx.stream("GET", url, cookies=cookies, timeout=30) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            kind, _, text = line.partition(": ")
            if kind == "event":
                name = text
            elif kind == "data":
                events.append((name, json.loads(text)))
    return events


def test_a_study_is_forwarded_and_found_there(ground, orthanc, faulty):
    study = series(8, size_bytes=20_000)
    with faulty(study) as peer:
        assert ground.over(ground.ask(peer.node_id, uid_of(study)))["state"] == "complete"
    body = {"kind": "send", "node_id": orthanc.node_id, "study_instance_uid": uid_of(study)}
    sent = ground.job_over(ground.post("/api/v1/jobs", 201, **body))
    assert (sent["state"], sent["result"]["completed"]) == ("complete", 8)
    keys = {"StudyInstanceUID": uid_of(study)}
    query = {"keys": keys, "node_ids": [orthanc.node_id]}
    assert ground.query_over(ground.post("/api/v1/queries", 201, **query))["matches"] == 1
    unknown = body | {"study_instance_uid": "1.2.3.999"}
    failed = ground.job_over(ground.post("/api/v1/jobs", 201, **unknown))
    assert (failed["state"], failed["error"]) == ("failed", "there is nothing of it here")


def test_forwarding_goes_on_with_what_the_node_has_not_taken(ground, faulty):
    study = series(6, size_bytes=500)
    with faulty(study) as peer:
        assert ground.over(ground.ask(peer.node_id, uid_of(study)))["state"] == "complete"
    with faulty() as peer:
        peer.refuse_store = 0xA700
        body = {"kind": "send", "node_id": peer.node_id, "study_instance_uid": uid_of(study)}
        job = ground.post("/api/v1/jobs", 201, **body)
        timer = threading.Timer(1.0, lambda: setattr(peer, "refuse_store", None))
        timer.start()
        done = ground.job_over(job)
        timer.join()
        assert done["state"] == "complete", done
        assert len(peer.stored) == 6


def test_a_nodes_bytes_per_second_are_kept(ground, faulty):
    study = series(10, size_bytes=60_000)
    with faulty(study, max_bytes_per_second=400_000, max_associations=2) as peer:
        began = time.monotonic()
        job = ground.ask(peer.node_id, uid_of(study), method="get")
        assert ground.over(job)["state"] == "complete"
        # 600 kB over one of two associations of 200 kB/s each, the first second's worth at once.
        assert time.monotonic() - began > 1.8


def test_the_example_client_retrieves_and_says_what_is_missing(ground, faulty):
    study = series(6, size_bytes=1000)
    token = ground.post("/api/v1/tokens", 201, name="example", role="operator")["token"]
    with faulty(study) as peer:
        peer.withheld = {study[2].SOPInstanceUID}
        name = ground.client.get(f"/api/v1/nodes/{peer.node_id}").json()["name"]

        def client(*arguments):
            return subprocess.run(
                [sys.executable, EXAMPLE, "--url", ground.suite.web_url, *arguments],
                env=os.environ | {"DRAW_TOKEN": token},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        short = client("--node", name, uid_of(study))
        assert short.returncode == 1, short
        assert f"missing: {study[2].SOPInstanceUID}" in short.stdout
        assert "1 of 6 did not arrive" in short.stderr
        peer.withheld.clear()
        whole = client("--node", name, uid_of(study))
        assert whole.returncode == 0, whole
        assert whole.stdout.splitlines()[-1].startswith("complete: 6 of 6 objects")
    unknown = client("--node", "nobody", "1.2.3")
    assert (unknown.returncode, unknown.stderr.strip()[:23]) == (2, "there is no remote node")
