"""Debian's Prometheus scrapes the running suite with the rules and dashboards that are shipped.

Several alerts are made to fire by real faults and to clear by their repair; windows and
waiting times are shorter than shipped. The other alerts fire on made-up series only, in
tests/architecture/test_alerts.py. Not covered: Grafana itself.
"""

import shutil
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from draw_shared.messaging import connection, topology
from support import datasets, faults
from support.prometheus import expressions, names, prometheus, rules
from support.raw_stores import raw_association
from support.steady_stores import SteadyStores
from support.suite import Suite, signed_in
from tools.processes import free_port, wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

GIB = 1024**3
JOBS = 6
# A series that is there only when there is something to show.
OF_RULES = {rule["record"] for rule in rules() if "record" in rule}
OF_PROMETHEUS = {"up"}


class Watched:
    """A suite with a database and a broker of its own, watched by Prometheus."""

    def __init__(self, suite, database, broker, server, client):
        self.suite = suite
        self.database = database
        self.broker = broker
        self.prometheus = server
        self.client = client

    def configure(self, **sections):
        """Change the configuration."""
        answer = self.client.patch("/api/v1/config", json=sections, headers={"If-Match": "*"})
        answer.raise_for_status()

    def store(self, made=None, **said):
        """Store one object and return the status."""
        made = made or datasets.build("MR")
        with raw_association(self.suite.dicom_port, made) as association:
            return association.send(made, **said)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        database = stack.enter_context(faults.own_postgres(folder / "postgres"))
        broker = stack.enter_context(faults.own_rabbitmq(folder / "rabbitmq"))
        suite = Suite(
            folder,
            database.url("draw"),
            broker.url(),
            DRAW_QR_WORKER_BACK_OFF_SECONDS="[0.1]",
        )
        suite.seed()
        stack.callback(suite.end)
        # Counted when the receiver starts; it counts as if it took room on the disk.
        filler = suite.storage / "objects" / "filler"
        filler.parent.mkdir(parents=True)
        with filler.open("wb") as sparse:
            sparse.truncate(GIB - 1024**2)
        suite.start()
        targets = {f"draw-{name}": process.http_port for name, process in suite.services.items()}
        server = stack.enter_context(prometheus(folder / "prometheus", targets))
        client = stack.enter_context(signed_in(suite.web_url))
        yield Watched(suite, database, broker, server, client)


@pytest.fixture(scope="module")
def shown(watched):
    """The names of all metrics that the four services show."""
    found = set()
    for process in watched.suite.services.values():
        for line in process.answer("/metrics")[1].splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                found.add(name)
                if kind == "histogram":
                    found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return found


def test_every_service_is_scraped(watched):
    def up():
        return {s["metric"]["job"] for s in watched.prometheus.query("up == 1")}

    wait_until(lambda: len(up()) == 4, 15)
    assert up() == {"draw-scp", "draw-indexer", "draw-qr-worker", "draw-api"}


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_rules_and_dashboards_name_only_what_is_shown(watched, shown, expression):
    used = names(expression)
    assert used - shown - OF_RULES - OF_PROMETHEUS == set()
    watched.prometheus.query(expression.replace("$__rate_interval", "1m"))


def test_a_name_that_nothing_shows_would_be_found():
    expression = 'sum by (le, job) (rate(draw_scp_nonsense_total{operation="c-store"}[5m])) > up'
    assert names(expression) == {"draw_scp_nonsense_total", "up"}


def test_what_is_stored_is_counted(watched):
    stores = SteadyStores(watched.suite.dicom_port, 100, ("127.0.0.2",))
    stores.enough.set()
    stores.start()
    stores.wait(30)
    assert stores.failures == []
    sums = (
        "sum(draw_scp_objects_stored_total)",
        'sum(draw_indexer_objects_total{outcome="indexed"})',
        "sum(draw_scp_announced_total)",
        "sum(draw_indexer_lag_seconds_count)",
    )

    def counted():
        return [[float(s["value"][1]) for s in watched.prometheus.query(one)] for one in sums]

    wait_until(lambda: counted() == [[100.0]] * 4, 20)
    assert counted() == [[100.0]] * 4


@contextmanager
def _repeatedly(action):
    """Do something again and again beside the block."""
    stop = threading.Event()

    def run():
        while not stop.wait(0.2):
            with suppress(OSError, AssertionError):
                action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def test_refusals_full_storage_dead_letters_and_failing_nodes_fire_and_clear(watched):
    """Four faults together, because each takes its time."""
    node = {"name": "NOBODY", "ae_title": "NOBODY", "host": "127.0.0.1", "port": free_port()}
    node_id = watched.client.post("/api/v1/nodes", json=node).raise_for_status().json()["id"]
    for _ in range(JOBS):
        job = {"kind": "echo", "node_id": node_id}
        watched.client.post("/api/v1/jobs", json=job).raise_for_status()
    broken = connection.connect(watched.suite.broker_url, "test")
    broken.channel().basic_publish("", topology.INSTANCE_STORED, b"not one of ours")
    watched.configure(storage={"max_storage_gb": 1})
    faulty = datasets.build("MR")
    with _repeatedly(lambda: watched.store(faulty, sop_instance="1.2.3.4")):
        watched.prometheus.wait_until_firing(
            "StoresFailing", "StorageNearlyFull", "StorageFull", "DeadLetters", "NodeUnreachable"
        )
    watched.configure(storage={"max_storage_gb": 100})
    broken.channel().queue_purge("indexer.dead")
    broken.close()
    corrected = node | {"ae_title": "DRAW_SCP", "port": watched.suite.dicom_port}
    watched.client.put(f"/api/v1/nodes/{node_id}", json=corrected).raise_for_status()
    watched.prometheus.wait_until_silent(
        "StoresFailing", "StorageNearlyFull", "StorageFull", "DeadLetters", "NodeUnreachable"
    )
    assert watched.store() == 0


def test_rejected_peers_and_a_killed_indexer_fire_and_clear(watched):
    watched.suite.kill("indexer")
    watched.configure(security={"allowed_ips": ["192.0.2.1/32"]})
    with _repeatedly(watched.store):
        watched.prometheus.wait_until_firing("AssociationsRejected", "ServiceDown", "ReplicaGone")
    watched.configure(security={"allowed_ips": []})
    watched.suite.start("indexer")
    watched.prometheus.wait_until_silent("AssociationsRejected", "ServiceDown", "ReplicaGone")


def test_broker_and_database_fire_and_clear_while_receiving_goes_on(watched):
    watched.broker.stop(10)
    assert watched.store() == 0
    watched.prometheus.wait_until_firing("BrokerDown", "AnnouncementsDelayed")
    watched.database.stop(10)
    assert watched.store() == 0
    watched.prometheus.wait_until_firing("DatabaseDown")
    watched.database.start()
    watched.broker.start()
    watched.prometheus.wait_until_silent("BrokerDown", "AnnouncementsDelayed", "DatabaseDown")


def test_a_stopped_receiver_fires_and_clears(watched):
    watched.suite.stop("scp")
    watched.prometheus.wait_until_firing("NoReceiver", "ServiceDown")
    watched.suite.start("scp")
    watched.prometheus.wait_until_silent("NoReceiver", "ServiceDown")


def test_nothing_fires_in_the_end(watched):
    named = {rule["alert"] for rule in rules() if "alert" in rule}
    told = {"ObjectsNotIndexable", "ConflictingObjects", "JobsFailing"}
    watched.prometheus.wait_until_silent(*(named - told))


def test_the_rules_of_this_test_are_the_shipped_ones_but_for_their_times(watched):
    loaded = watched.prometheus.get("/api/v1/rules")["groups"]
    found = {rule["name"] for group in loaded for rule in group["rules"]}
    assert found == {rule.get("alert") or rule["record"] for rule in rules()}
