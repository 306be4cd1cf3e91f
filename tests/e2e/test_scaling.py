"""Three receivers behind HAProxy, two indexers and two workers do the work of one suite.

The HAProxy configuration is that of Compose, with addresses of the loopback. Not covered: a
network between the parts, and a storage volume that several machines share.
"""

import time
from collections import Counter

import pytest

from support import datasets, service_finder
from support.raw_stores import raw_association
from support.replicas import add_replica, haproxy
from support.steady_stores import SteadyStores
from support.suite import Suite, signed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STORES = 3000
PEERS = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
STRANGER = "127.0.0.9"
ALLOWED = ["127.0.0.0/29"]
RECEIVERS = ("scp-1", "scp-2", "scp-3")
INDEXERS = ("indexer-1", "indexer-2")
WORKERS = ("qr-worker-1", "qr-worker-2")
INDEX_SECONDS = 60
JOBS = 60


@pytest.fixture(scope="module")
def scaled(tmp_path_factory, postgres_url, template, broker):
    """The suite with all its replicas, ready, and the port of the HAProxy before it."""
    folder = tmp_path_factory.mktemp("scaled")
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(folder, database_url, broker_url)
        suite.seed()
        suite.services = {"api": suite.services["api"]}
        for name in (*INDEXERS, *WORKERS, *RECEIVERS):
            service, _, number = name.rpartition("-")
            add_replica(suite, service, int(number))
        try:
            suite.start()
            with (
                signed_in(suite.web_url) as client,
                haproxy(folder, [suite.services[name] for name in RECEIVERS]) as port,
            ):
                patch = {"security": {"allowed_ips": ALLOWED}}
                answer = client.patch("/api/v1/config", json=patch, headers={"If-Match": "*"})
                answer.raise_for_status()
                wait_until(lambda: _configured(suite) == {2}, 60)
                yield suite, client, port
        finally:
            suite.end()


def _configured(suite):
    """Return the versions of the configuration that the receivers work with."""
    return {int(_metric(suite, name, "draw_service_config_version")) for name in RECEIVERS}


def _metric(suite, name, metric):
    """Return the sum of a metric of one replica over its labels."""
    _, text = suite.services[name].answer("/metrics")
    lines = (line for line in text.splitlines() if line.startswith(metric))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _stored(suite):
    """Return how often each SOP instance lies in the storage."""
    return Counter(path.stem for path in (suite.storage / "objects").rglob("*.dcm"))


@pytest.fixture(scope="module")
def rolled(scaled):
    """What was stored while each receiver was stopped and started in turn."""
    suite, _, port = scaled
    stores = SteadyStores(port, STORES, PEERS)
    stores.start()
    codes = {}
    for name in RECEIVERS:
        already = len(stores.stored)
        wait_until(lambda: len(stores.stored) > already + 100, 20)  # noqa: B023
        codes[name] = suite.stop(name)
        suite.start(name)
    stores.wait(90)
    return stores, codes


def test_no_store_fails_in_a_running_association_while_each_receiver_is_stopped(rolled):
    stores, codes = rolled
    assert stores.failures == []
    assert len(stores.stored) >= STORES
    assert set(codes.values()) == {0}


def test_nothing_is_lost_and_nothing_is_twice(scaled, rolled):
    suite, _, _ = scaled
    stores, _ = rolled
    sent = set(stores.stored)
    held = "SELECT sop_instance_uid FROM instances"
    rows = suite.wait_for_rows(len(sent), held, INDEX_SECONDS)
    assert {row["sop_instance_uid"] for row in rows} == sent
    assert _stored(suite) == Counter(dict.fromkeys(sent, 1))
    assert suite.rows("SELECT * FROM instance_conflicts") == []
    [counted] = suite.rows("SELECT sum(objects)::int AS objects FROM reception_days")
    assert counted["objects"] == len(sent)
    assert not list((suite.storage / "spool").rglob("*.dcm"))


def test_every_receiver_took_its_share(scaled, rolled):
    suite, _, _ = scaled
    sent = len(rolled[0].stored)
    statement = (
        "SELECT replica, count(*) AS stores FROM transactions WHERE kind = 'c-store'"
        " AND outcome = 'success' GROUP BY replica"
    )

    def stores():
        return {row["replica"]: row["stores"] for row in suite.rows(statement)}

    wait_until(lambda: sum(stores().values()) >= sent, INDEX_SECONDS)
    found = stores()
    assert set(found) == set(RECEIVERS)
    assert sum(found.values()) == sent
    assert min(found.values()) > sent / 10


def test_the_transaction_log_names_the_peers_and_not_the_load_balancer(scaled, rolled):
    suite, _, _ = scaled
    statement = "SELECT DISTINCT peer_address FROM transactions WHERE kind = 'c-store'"
    assert {row["peer_address"] for row in suite.rows(statement)} == set(PEERS)


def test_the_allow_list_sees_the_peer(scaled):
    suite, _, port = scaled
    made = datasets.build("MR")
    with raw_association(port, made, source=PEERS[0]) as association:
        association.release()
    with pytest.raises((AssertionError, OSError)), raw_association(port, made, source=STRANGER):
        pass
    statement = (
        "SELECT peer_address FROM transactions WHERE kind = 'rejection' AND peer_address = :peer"
    )
    assert suite.wait_for_rows(1, statement, 15, peer=STRANGER)


def test_both_indexers_share_the_objects_without_a_deadlock(scaled, rolled):
    suite, _, _ = scaled
    sent = len(rolled[0].stored)
    suite.wait_for_rows(sent, "SELECT 1 FROM instances", INDEX_SECONDS)
    shares = [_metric(suite, name, "draw_indexer_batch_objects_sum") for name in INDEXERS]
    assert min(shares) > 0
    assert sum(shares) >= sent
    fresh = [
        _metric(suite, name, 'draw_indexer_objects_total{outcome="indexed"}') for name in INDEXERS
    ]
    assert sum(fresh) == sent
    assert _deadlocks(suite) == 0


def _deadlocks(suite):
    # The statistics of a session that just ended arrive a moment later.
    time.sleep(1.5)
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return suite.rows(statement)[0]["deadlocks"]


def test_both_workers_share_the_jobs_and_do_none_twice(scaled):
    suite, client, port = scaled
    node = {
        "name": "OURSELVES",
        "ae_title": "DRAW_SCP",
        "host": "127.0.0.1",
        "port": port,
        "max_associations": 16,
    }
    node_id = client.post("/api/v1/nodes", json=node).raise_for_status().json()["id"]
    for _ in range(JOBS):
        wanted = {"kind": "echo", "node_id": node_id}
        client.post("/api/v1/jobs", json=wanted).raise_for_status()
    done = "SELECT id FROM jobs WHERE state = 'complete'"
    assert len(suite.wait_for_rows(JOBS, done, 40)) == JOBS
    attempts = suite.rows("SELECT job_id, worker FROM job_attempts")
    assert len(attempts) == len({row["job_id"] for row in attempts}) == JOBS
    assert {row["worker"] for row in attempts} == set(WORKERS)
    assert _deadlocks(suite) == 0


def test_one_object_can_be_followed_from_the_association_to_the_index(scaled, rolled):
    suite, client, _ = scaled
    stores, _ = rolled
    where = {"uid": stores.stored[len(stores.stored) // 2]}
    statement = "SELECT * FROM instances WHERE sop_instance_uid = :uid"
    [row] = suite.wait_for_rows(1, statement, INDEX_SECONDS, **where)
    association = row["association_id"]
    statement = "SELECT association_id, replica FROM transactions WHERE sop_instance_uid = :uid"
    [line] = suite.wait_for_rows(1, statement, 15, **where)
    assert line["association_id"] == association
    log = [entry for entry in suite.log(line["replica"]).splitlines() if association in entry]
    assert "association.closed" in "".join(log)
    shown = client.get("/api/v1/transactions", params={"uid": association})
    found = shown.raise_for_status().json()["items"]
    assert {line["association_id"] for line in found} == {association}
    assert {"association", "c-store"} <= {line["kind"] for line in found}
