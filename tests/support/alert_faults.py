"""Faults that make alerts fire, each with its repair, on a suite that Prometheus watches.

A fault is a context manager: it breaks something real, and mends it when its block ends. Those
that hurt each other as little as in a hospital may be combined.
"""

import copy
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import psycopg
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from support import datasets, faults, senders
from support.prometheus import prometheus
from support.raw_stores import raw_association
from support.service_finder import program
from support.steady_stores import SteadyStores
from support.suite import ADMIN_PASSWORD, Suite, signed_in
from support.waiting import wait_until
from tools.processes import free_port

GB = 1000**3
LEFT_BYTES = 16_000_000
"""What a quota of 1 GB leaves when the suite starts."""
LAST_WEEK_BYTES = 10_000_000
"""At this pace a week, what is then left lasts four days."""
JOBS = 6
BACKLOG = 250
PEOPLE = ("ann", "ben", "cem")
PASSWORD = "a password for an hour"
ASKED = (
    *("/api/v1/studies",) * 6,
    *("/api/v1/storage",) * 2,
    *("/api/v1/instances/1.2.3/facts",) * 2,
    *("/api/v1/studies/1.2.3/archive",) * 4,
)
"""What one user asks for at a time: as much of each kind as he has places for."""
STREAMS = 5
SIGN_INS = 3
LOCK_SECONDS = 4.0
SYNC_SECONDS = 1.5
PAUSE_SECONDS = 0.2
SLOW_DISK = (
    # The program goes on under its own process id, and the tracer can be ended alone.
    *("strace", "-D", "-I", "2", "-f", "-qq", "-o", "/dev/null"),
    *("-e", "trace=fsync,fdatasync"),
    *("-e", f"inject=fsync,fdatasync:delay_enter={int(SYNC_SECONDS * 1e6)}"),
)


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

    def post(self, path, body):
        """Post something and return the answer's document."""
        return self.client.post(path, json=body).raise_for_status().json()

    def store(self, made=None, **said):
        """Store one object and return the status."""
        made = made or datasets.build("MR")
        with raw_association(self.suite.dicom_port, made) as association:
            return association.send(made, **said)

    def find(self):
        """Send one C-FIND and return its final status."""
        asked = Dataset()
        asked.QueryRetrieveLevel, asked.PatientID, asked.StudyInstanceUID = "STUDY", "NOBODY", ""
        contexts = [build_context(StudyRootFind)]
        with senders.association(self.suite.dicom_port, contexts) as made:
            return [status.Status for status, _ in made.send_c_find(asked, StudyRootFind)][-1]

    def read_studies(self):
        """Ask the REST interface for studies, whatever it says."""
        return self.client.get("/api/v1/studies").status_code


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """Yield a running suite, watched."""
    with ExitStack() as stack:
        database = stack.enter_context(faults.own_postgres(folder / "postgres"))
        broker = stack.enter_context(faults.own_rabbitmq(folder / "rabbitmq"))
        suite = Suite(
            folder,
            database.url("draw"),
            broker.url(),
            DRAW_QR_WORKER_BACK_OFF_SECONDS="[0.1]",
            DRAW_INDEXER_LOST_ANNOUNCEMENTS_SECONDS="1",
            DRAW_TRANSACTION_KEYS="k" * 64,
        )
        suite.seed()
        stack.callback(suite.end)
        # Counted when the receiver starts; it counts as if it took room on the disk.
        filler = suite.storage / "objects" / "filler"
        filler.parent.mkdir(parents=True)
        with filler.open("wb") as sparse:
            sparse.truncate(GB - LEFT_BYTES)
        suite.start(*suite.services)
        targets = {f"draw-{name}": [process.http_port] for name, process in suite.services.items()}
        server = stack.enter_context(prometheus(folder / "prometheus", targets))
        client = stack.enter_context(signed_in(suite.web_url))
        # What counts before it was looked at for the first time has not grown.
        wait_until(lambda: len(server.query("up == 1")) == len(targets), 60)
        yield Watched(suite, database, broker, server, client)


@contextmanager
def repeatedly(action: Callable[[], object], at_a_time: int = 1) -> Iterator[None]:
    """Do something again and again beside the block; that it fails belongs to the fault."""
    stop = threading.Event()

    def run():
        while not stop.wait(PAUSE_SECONDS):
            with suppress(OSError, AssertionError, httpx.HTTPError):
                action()

    threads = [threading.Thread(target=run) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


Fault = Callable[[Watched], AbstractContextManager[None]]


def breaks(*alerts: str) -> Callable[[Callable[[Watched], Iterator[None]]], Fault]:
    """Say which alerts a fault makes fire."""

    def named(fault):
        made = contextmanager(fault)
        made.alerts = frozenset(alerts)
        return made

    return named


# What is sent and kept


@breaks("StoresFailing")
def a_sender_of_faulty_objects(watched):
    made = datasets.build("MR")
    with repeatedly(lambda: watched.store(made, sop_instance="1.2.3.4")):
        yield


@breaks("ConflictingObjects")
def a_sender_that_corrects_without_a_new_uid(watched):
    made = datasets.build("MR", PatientID="BEFORE")
    corrected = copy.deepcopy(made)
    corrected.SeriesDescription = "corrected"
    assert (watched.store(made), watched.store(corrected)) == (0, 0)
    yield


@breaks("ObjectsNotIndexable", "DeadLetters")
def a_file_that_is_damaged_before_it_is_indexed(watched):
    made = datasets.build("MR")
    indexer = watched.suite.services["indexer"].pid
    os.kill(indexer, signal.SIGSTOP)
    try:
        assert watched.store(made) == 0
        [file] = (watched.suite.storage / "objects").rglob(f"{made.SOPInstanceUID}.dcm")
        file.write_bytes(b"damaged" * 100)
    finally:
        os.kill(indexer, signal.SIGCONT)
    yield
    for letter in watched.client.get("/api/v1/dead-letters/indexer.dead").json():
        place = f"/api/v1/dead-letters/indexer.dead/{letter['key']}"
        watched.client.delete(place).raise_for_status()


@breaks("StorageNearlyFull", "StorageFull", "StorageFillsSoon")
def a_quota_that_is_nearly_used_up(watched):
    for _ in range(2):
        made = datasets.build("CT", size_bytes=LAST_WEEK_BYTES // 2)
        assert watched.store(made) == 0
    received = "SELECT sum(size_bytes) AS size FROM reception_days HAVING sum(size_bytes) >= :least"
    assert watched.suite.wait_for_rows(1, received, 30, least=LAST_WEEK_BYTES)
    # The forecast looks at the days before today.
    watched.suite.execute("UPDATE reception_days SET day = day - 3")
    watched.configure(storage={"max_storage_gb": 1})
    yield
    watched.configure(storage={"max_storage_gb": 100})


@breaks("StoresSlow")
def a_disk_whose_syncs_are_slow(watched):
    program("strace")
    receiver = watched.suite.services["scp"]
    watched.suite.stop("scp")
    receiver.start(under=SLOW_DISK)
    watched.suite.wait_ready("scp")
    with repeatedly(watched.store):
        yield
    status = Path(f"/proc/{receiver.pid}/status").read_text(encoding="utf-8")
    tracer = int(status.partition("TracerPid:")[2].split()[0])
    os.kill(tracer, signal.SIGTERM)


# Processes


@breaks("IndexBehind", "ServiceDown", "ReplicaGone")
def a_killed_indexer(watched):
    watched.suite.kill("indexer")
    stores = SteadyStores(watched.suite.dicom_port, BACKLOG, ("127.0.0.2",))
    stores.start()
    stores.wait(30)
    assert stores.failures == []
    yield
    watched.suite.start("indexer")


@breaks("JobsWaiting", "ServiceDown", "ReplicaGone")
def a_killed_worker(watched):
    watched.suite.kill("qr-worker")
    body = {"name": "OURSELVES", "ae_title": "DRAW_SCP", "host": "127.0.0.1"}
    node = watched.post("/api/v1/nodes", body | {"port": watched.suite.dicom_port})
    watched.post("/api/v1/jobs", {"kind": "echo", "node_id": node["id"]})
    yield
    watched.suite.start("qr-worker")


@breaks("NoReceiver", "ServiceDown")
def a_stopped_receiver(watched):
    watched.suite.stop("scp")
    yield
    watched.suite.start("scp")


@breaks("ListenerNotAsConfigured")
def a_certificate_that_is_not_there(watched):
    watched.configure(
        network={
            "tls": {"enabled": True, "certificate_file": "/nowhere", "key_file": "/nowhere"},
        }
    )
    with repeatedly(watched.store):
        yield
    watched.configure(network={"tls": {"enabled": False}})


@breaks("AssociationsRejected")
def an_address_list_without_the_senders(watched):
    watched.configure(security={"allowed_ips": ["192.0.2.1/32"]})
    with repeatedly(watched.store):
        yield
    watched.configure(security={"allowed_ips": []})


@breaks("NodeUnreachable", "JobsFailing")
def a_remote_node_that_is_away(watched):
    node = {"name": "NOBODY", "ae_title": "NOBODY", "host": "127.0.0.1", "port": free_port()}
    node_id = watched.post("/api/v1/nodes", node)["id"]
    # A node that has failed often is left alone, and its jobs wait: so each of these has another.
    others = []
    for number in range(JOBS):
        watched.post("/api/v1/jobs", {"kind": "echo", "node_id": node_id})
        other = node | {"name": f"NOBODY {number}", "ae_title": f"NOBODY_{number}"}
        others.append(watched.post("/api/v1/nodes", other)["id"])
        watched.post("/api/v1/jobs", {"kind": "echo", "node_id": others[-1]})
    yield
    for other_id in others:
        watched.client.delete(f"/api/v1/nodes/{other_id}").raise_for_status()
    corrected = node | {"ae_title": "DRAW_SCP", "port": watched.suite.dicom_port}
    watched.client.put(f"/api/v1/nodes/{node_id}", json=corrected).raise_for_status()


@breaks("StandingQueryFails")
def a_standing_query_whose_only_node_is_switched_off(watched):
    node = {"name": "OFF", "ae_title": "OFF", "host": "127.0.0.1", "port": free_port()}
    node_id = watched.post("/api/v1/nodes", node | {"active": False})["id"]
    query = {"name": "off", "query": {"node_ids": [node_id]}, "schedule": "0 2 * * *"}
    path = f"/api/v1/standing-queries/{watched.post('/api/v1/standing-queries', query)['id']}"
    for run in (1, 2):
        watched.post(f"{path}/run", {})
        ended = "SELECT id FROM standing_query_runs WHERE state = 'failed'"
        assert len(watched.suite.wait_for_rows(run, ended, 30)) == run
    yield
    watched.client.delete(path).raise_for_status()


@breaks("TransactionLogNotAsSealed")
def a_log_whose_end_somebody_cuts(watched):
    def lines():
        return watched.suite.rows("SELECT count(*) AS n FROM transactions WHERE seal IS NOT NULL")

    assert wait_until(lambda: lines()[0]["n"] > 0, 30)
    watched.suite.stop("indexer")
    watched.suite.execute(
        "DELETE FROM transactions WHERE chain_position >= (SELECT max(chain_position)"
        " FROM transactions WHERE seal IS NOT NULL)"
    )
    watched.suite.start("indexer")
    assert watched.store() == 0
    yield
    watched.suite.stop("indexer")
    watched.suite.start("indexer")


# Database and broker


@breaks("BrokerDown", "AnnouncementsDelayed", "TransactionLogDelayed")
def a_stopped_broker(watched):
    watched.broker.stop(10)
    assert watched.store() == 0
    with repeatedly(watched.store):
        yield
    watched.broker.start()


@breaks("DatabaseDown", "HttpErrors", "QueriesFailing")
def a_stopped_database(watched):
    watched.database.stop(10)
    assert watched.store() == 0
    with repeatedly(watched.find), repeatedly(watched.read_studies):
        yield
    watched.database.start()


@breaks("QueriesFailing")
def a_receiver_whose_database_account_is_locked(watched):
    watched.suite.execute(
        "ALTER ROLE draw_test_scp NOLOGIN;"
        " SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'draw_test_scp'"
    )
    assert watched.store() == 0
    with repeatedly(watched.find):
        yield
    watched.suite.execute("ALTER ROLE draw_test_scp LOGIN")


@breaks("UnexpectedFailures")
def a_column_that_somebody_renames(watched):
    watched.suite.execute("ALTER TABLE instance_conflicts RENAME COLUMN size_bytes TO b")
    with repeatedly(lambda: watched.client.get("/api/v1/storage")):
        yield
    watched.suite.execute("ALTER TABLE instance_conflicts RENAME COLUMN b TO size_bytes")


@breaks("ConfigurationNotEverywhere")
def a_configuration_that_only_a_later_release_can_read(watched):
    before = watched.client.get("/api/v1/config").json()["version"]
    watched.suite.execute(
        "INSERT INTO server_config (version, document, created_by) SELECT version + 1,"
        " jsonb_set(document, '{network,max_pdu_bytes}', '\"automatic\"'), 'a later release'"
        " FROM server_config ORDER BY version DESC LIMIT 1"
    )
    yield
    watched.client.post(
        f"/api/v1/config/versions/{before}/restore", headers={"If-Match": "*"}
    ).raise_for_status()


@contextmanager
def everybody_asking(watched):
    """Have several users ask for so much that every place for a request is taken.

    One user could not: see draw_shared.web.turns, whose places are as many as connections.
    """
    web, admin = watched.suite.web_url, {"name": "admin", "password": ADMIN_PASSWORD}
    with ExitStack() as stack:
        for name in PEOPLE:
            watched.post("/api/v1/users", {"name": name, "role": "viewer", "password": PASSWORD})
            client = stack.enter_context(signed_in(web, name, PASSWORD))
            client.get("/api/v1/me").raise_for_status()
            for path in ASKED:
                stack.enter_context(repeatedly(partial(client.get, path)))
        for _ in range(STREAMS):
            stack.enter_context(watched.client.stream("GET", "/live/dashboard"))
        sign_in = partial(httpx.post, f"{web}/api/v1/session", json=admin, timeout=60)
        stack.enter_context(repeatedly(sign_in, SIGN_INS))
        yield


@breaks("DatabaseConnectionsUsedUp", "QueriesSlow", "IndexBehind")
def a_table_that_somebody_locks(watched):
    """As a migration does that does not come to its end; again and again, so that all go on."""

    def lock():
        with psycopg.connect(watched.suite.database_url) as connection:
            # In this order: who has the first and wants the second is waited for.
            connection.execute("LOCK TABLE users, studies IN ACCESS EXCLUSIVE MODE")
            stop.wait(LOCK_SECONDS)

    stop = threading.Event()
    with (
        everybody_asking(watched),
        repeatedly(watched.find),
        repeatedly(watched.store),
        repeatedly(lock),
    ):
        yield
        stop.set()


@breaks("FilesWithoutRow")
def an_index_that_somebody_keeps_from_growing(watched):
    """As a copy of the table does that takes hours; who only reads notices nothing."""
    with psycopg.connect(watched.suite.database_url) as connection:
        connection.execute("LOCK TABLE instances IN SHARE MODE")
        assert watched.store() == 0
        yield
        connection.rollback()


@breaks("RoutingStandsStill")
def rules_of_a_later_release(watched):
    with rules_in_force(watched, '{"rules": [], "colour": "red"}'):
        assert watched.store() == 0
        yield


@breaks("RoutingUndecided")
def a_file_that_is_damaged_after_it_is_indexed(watched):
    """Of a series to which a batch applies a rule that asks for what only the file has."""
    condition = '{"subject": "KVP", "operator": "equals", "value": 1}'
    rule = f'{{"name": "voltage", "stop": true, "when": {condition}}}'
    with psycopg.connect(watched.suite.database_url, autocommit=True) as connection:

        def complete():
            return connection.execute(COMPLETE_FILE).fetchone()

        wait_until(complete, 60)
        file = watched.suite.storage / complete()[0]
        held = file.read_bytes()
        file.write_bytes(b"nothing")
        with rules_in_force(watched, f'{{"rules": [{rule}]}}') as version:
            # So that the rule is shown before it is counted.
            assert watched.store() == 0
            with repeatedly(partial(apply_to_archive, watched, version)):
                yield
        file.write_bytes(held)


@breaks("DeliveryWaitsLong", "DeliveriesFail", "FailoverInForce", "DestinationPaused")
def a_folder_of_a_program_that_somebody_replaces_by_a_file(watched):
    """Beside a destination that is paused, and one that somebody removes while it waits."""
    broken = watched.suite.folder / "program"
    gone = watched.suite.folder / "gone"
    for each in (broken, gone):
        each.write_text("no folder", encoding="utf-8")
    folders = {"program": broken, "leaving": gone} | {
        name: watched.suite.folder / name for name in ("second", "held")
    }
    destinations = [{"kind": "folder", "name": n, "path": str(p)} for n, p in folders.items()]
    members = {"kind": "group", "name": "group", "mode": "failover", "after_failures": 1}
    destinations.append(members | {"members": ["program", "second"]})
    names = ["program", "leaving", "held", "group"]
    rules = [{"name": "all", "destinations": names}]
    left = [one for one in destinations if one["name"] != "leaving"]
    kept = [{"name": "all", "destinations": ["program", "held", "group"]}]
    before = json.dumps({"destinations": destinations, "rules": rules})
    with ExitStack() as held, rules_in_force(watched, before):
        watched.configure(query_retrieve={"stable_after_seconds": 1})
        held.enter_context(paused(watched, "held"))
        assert watched.store() == 0
        assert len(watched.suite.wait_for_rows(2, FAILING, 120)) == 2
        # What counts before it was looked at for the first time has not grown.
        assert wait_until(lambda: watched.prometheus.query(GIVEN_UP), 60)
        with rules_in_force(watched, json.dumps({"destinations": left, "rules": kept})):
            yield
            broken.unlink()
            held.close()

            state = "SELECT in_force FROM destination_states WHERE name = 'group'"

            def in_force_again():
                # The next delivery goes to the first again, once that has taken one.
                watched.store()
                wait_until(lambda: not watched.suite.rows(ON_THE_WAY), 60)
                return watched.suite.rows(state)[0]["in_force"] == "program"

            assert wait_until(in_force_again, 90)
            watched.configure(query_retrieve={"stable_after_seconds": 60})


GIVEN_UP = 'draw_qr_worker_deliveries_ended_total{destination="leaving",outcome="failed"}'

# Of the group too something may have failed by then.
FAILING = """
    SELECT DISTINCT destination FROM deliveries
    WHERE finished_at IS NULL AND failures > 0 AND destination IN ('program', 'leaving')
"""

ON_THE_WAY = """
    SELECT id FROM series WHERE stable_at IS NULL
    UNION ALL SELECT sequence FROM changes WHERE sequence >
        (SELECT sequence FROM feed_positions WHERE consumer = 'routing')
    UNION ALL SELECT id FROM deliveries WHERE finished_at IS NULL
"""


HOLD = """
    INSERT INTO destination_states (name, mode) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET mode = EXCLUDED.mode, mode_since = now()
"""


@contextmanager
def paused(watched, destination):
    with psycopg.connect(watched.suite.database_url, autocommit=True) as connection:
        connection.execute(HOLD, (destination, "paused"))
        try:
            yield
        finally:
            connection.execute(HOLD, (destination, "active"))


# Of a series, that of its first object by instance number: no other is read.
COMPLETE_FILE = """
    SELECT i.path FROM instances i JOIN series r ON r.id = i.series_pk
    WHERE r.stable_at IS NOT NULL ORDER BY r.id, i.instance_number NULLS LAST, i.id LIMIT 1
"""


@contextmanager
def rules_in_force(watched, document):
    """Yield these rules' version; afterwards those before them are the next version."""
    with psycopg.connect(watched.suite.database_url, autocommit=True) as connection:
        before = connection.execute(NEWEST_RULES).fetchone()
        [version] = connection.execute(SAVE_RULES, (document,)).fetchone()
        try:
            yield version
        finally:
            connection.execute(SAVE_RULES, (before[0] if before else '{"rules": []}',))


NEWEST_RULES = "SELECT document::text FROM routing_documents ORDER BY version DESC LIMIT 1"
SAVE_RULES = """
    INSERT INTO routing_documents (version, document, created_by)
    SELECT coalesce(max(version), 0) + 1, %s::jsonb, 'admin' FROM routing_documents
    RETURNING version
"""


def apply_to_archive(watched, version):
    with psycopg.connect(watched.suite.database_url) as connection:
        connection.execute(
            "INSERT INTO routing_batches (id, routing_version, state, until)"
            " SELECT gen_random_uuid(), %s, 'running', (SELECT max(id) FROM series)"
            " WHERE NOT EXISTS (SELECT FROM routing_batches WHERE state = 'running')",
            (version,),
        )


OF_A_BROKER_CLUSTER = ("QuorumQueueMembersMissing",)
"""Alerts whose faults need several nodes: tests/faults/test_broker_cluster.py has them."""

TOGETHER: tuple[tuple[Fault, ...], ...] = (
    (
        a_remote_node_that_is_away,
        a_standing_query_whose_only_node_is_switched_off,
        a_certificate_that_is_not_there,
        a_quota_that_is_nearly_used_up,
        a_sender_of_faulty_objects,
        a_sender_that_corrects_without_a_new_uid,
        a_file_that_is_damaged_before_it_is_indexed,
    ),
    (a_killed_worker, a_killed_indexer, an_address_list_without_the_senders),
    (a_table_that_somebody_locks,),
    (an_index_that_somebody_keeps_from_growing,),
    (rules_of_a_later_release,),
    (a_file_that_is_damaged_after_it_is_indexed,),
    (a_folder_of_a_program_that_somebody_replaces_by_a_file,),
    (a_stopped_broker, a_stopped_database),
    (
        a_receiver_whose_database_account_is_locked,
        a_column_that_somebody_renames,
        a_configuration_that_only_a_later_release_can_read,
    ),
    (a_log_whose_end_somebody_cuts, a_stopped_receiver),
    (a_disk_whose_syncs_are_slow,),
)
"""Faults that happen at the same time, because each takes its time."""
