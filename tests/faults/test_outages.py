"""RabbitMQ, PostgreSQL or the receiver fails while 200 objects are sent to the whole suite.

Every object that was acknowledged is on disk with its bytes and indexed exactly once in the
end, also when RabbitMQ comes back without its disk; without RabbitMQ or PostgreSQL no object is
refused, and no peer is let in that the suite's configuration turns away. Whatever is killed, no
series is complete before the associations that bring it have ended; with
`DRAW_TEST_KILL_ROUNDS=100 pytest tests/faults/test_outages.py -k complete` for longer. A power cut
is not covered here.
"""

import os
import random
import shutil
import signal
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from pydicom.uid import generate_uid

from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.peer_failures import PeerAborted
from draw_shared.dicom.network.requestor import Remote
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from draw_shared.runtime.config_watch import NONE_KNOWN
from support import datasets, faults, senders
from support.bringing import PACE_SECONDS, Bringer
from support.operating import operating, soon
from support.receptions import encoded
from support.replicas import add_replica
from support.suite import AE_TITLE, ON_DEMAND, Suite, listens, set_config, signed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

OBJECTS = 200
SIZE = 20_000
RECOVERY_SECONDS = 60
KNOWN = "CT_ROOM_2"
STRANGER = "STRANGER"
INSTANCES = (
    "SELECT sop_instance_uid, path, size_bytes FROM instances WHERE sop_instance_uid = ANY(:uids)"
)

KILL_ROUNDS = int(os.environ.get("DRAW_TEST_KILL_ROUNDS", "4"))
BROUGHT = 6
LATER_SECONDS = 1.0
QUIET_SECONDS = 8
COMPLETED = (
    "SELECT series_instance_uid AS uid, reason, extract(epoch FROM occurred_at) AS at FROM changes"
    " WHERE kind = 'series.stable' AND series_instance_uid = ANY(:uids)"
)
OPEN = (
    "SELECT series_instance_uid FROM series"
    " WHERE stable_at IS NULL AND series_instance_uid = ANY(:uids)"
)

TWICE = "SELECT sop_instance_uid FROM instances GROUP BY 1 HAVING count(*) > 1"


class Sender(threading.Thread):
    """Sends objects one after another and remembers which were acknowledged.

    Not pynetdicom: under load its own threads may take an answer from each other, which
    looks as if there had been none.
    """

    def __init__(self, port, objects, pause_seconds=0.01):
        super().__init__(daemon=True)
        self._port, self._objects, self._pause = port, objects, pause_seconds
        self.statuses = {}

    def run(self):
        remote = Remote("127.0.0.1", self._port, AE_TITLE, "TESTER")
        one = self._objects[0]
        syntax = str(one.file_meta.TransferSyntaxUID)
        proposed = [ProposedContext(1, str(one.SOPClassUID), (syntax,))]
        with suppress(PeerAborted), open_sender(remote, proposed) as sender:
            for sent in sender.store(self._outgoing(syntax)):
                self.statuses[sent.outgoing.sop_instance_uid] = sent.status
                time.sleep(self._pause)

    def _outgoing(self, syntax):
        for one in self._objects:
            uid = str(one.SOPInstanceUID)
            yield Outgoing(encoded(one), str(one.SOPClassUID), uid, syntax)

    def wait_for(self, count):
        assert wait_until(lambda: len(self.statuses) >= count, 60)

    @property
    def acknowledged(self):
        return {uid for uid, status in self.statuses.items() if status == 0}


def _sending(suite, objects, acknowledged, **pace):
    """Return a sender that goes on after so many of the objects."""
    sender = Sender(suite.dicom_port, objects, **pace)
    sender.start()
    sender.wait_for(acknowledged)
    return sender


def _require_stored_and_indexed_once(suite, uids):
    rows = suite.wait_for_rows(len(uids), INSTANCES, RECOVERY_SECONDS, uids=list(uids))
    assert sorted(row["sop_instance_uid"] for row in rows) == sorted(uids)
    for row in rows:
        stored = suite.storage / row["path"]
        assert stored.stat().st_size == row["size_bytes"]
        assert senders.read(stored).SOPInstanceUID == row["sop_instance_uid"]
    held = {path.stem for path in (suite.storage / "objects").rglob("*.dcm")}
    assert held >= uids
    assert suite.rows(TWICE) == []


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The suite's PostgreSQL, which these tests may stop and start."""
    with faults.own_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    """The suite's RabbitMQ, which these tests may stop and start."""
    with faults.own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres, rabbitmq):
    """All services on servers of their own; each test leaves them running."""
    suite = Suite(tmp_path_factory.mktemp("suite"), postgres.url("draw"), rabbitmq.url())
    suite.broker_urls = rabbitmq.service_urls()
    suite.seed()
    try:
        suite.start(*suite.services)
        yield suite
    finally:
        suite.end()


@pytest.fixture
def objects():
    return datasets.series(OBJECTS, size_bytes=SIZE)


def test_rabbitmq_stopped_during_stores(suite, rabbitmq, objects):
    sender = _sending(suite, objects, 50)
    rabbitmq.stop()
    sender.join(120)
    assert len(sender.acknowledged) == OBJECTS
    assert len(suite.rows(INSTANCES, uids=list(sender.acknowledged))) < OBJECTS
    rabbitmq.start()
    _require_stored_and_indexed_once(suite, sender.acknowledged)


def test_rabbitmq_loses_its_disk_during_stores(suite, rabbitmq, objects):
    spool, announced = suite.storage / "spool", suite.storage / "announced"
    indexer = suite.services["indexer"].pid
    os.kill(indexer, signal.SIGSTOP)
    before = set(announced.iterdir())
    sender = _sending(suite, objects, 50)
    # What it has confirmed by now is in its queue and nowhere else.
    assert wait_until(lambda: set(announced.iterdir()) > before, 60)
    rabbitmq.kill()
    shutil.rmtree(rabbitmq.folder / "data")
    os.kill(indexer, signal.SIGCONT)
    sender.join(120)
    assert len(sender.acknowledged) == OBJECTS
    unannounced = len(list(spool.rglob("*.dcm")))
    rabbitmq.start()
    assert unannounced < OBJECTS
    _require_stored_and_indexed_once(suite, sender.acknowledged)
    assert wait_until(lambda: not list(announced.iterdir()), 60)


def test_postgresql_stopped_during_stores(suite, postgres, objects):
    sender = _sending(suite, objects, 50)
    postgres.stop()
    sender.join(120)
    assert len(sender.acknowledged) == OBJECTS
    postgres.start()
    _require_stored_and_indexed_once(suite, sender.acknowledged)
    for name in suite.services.keys() - ON_DEMAND:
        suite.wait_ready(name)


@pytest.fixture
def guarded(suite):
    """The suite with a list of who may associate: `KNOWN` alone, for the time of a test."""
    with operating(suite) as operator:
        before = operator.client.get("/api/v1/config").json()["version"]
        titles = operator.client.post("/api/v1/ae-titles", json={"ae_title": KNOWN})
        titles.raise_for_status()
        operator.configure({"security": {"validate_calling_ae": True}})
        soon(lambda: operator.refuses(calling=STRANGER))
        assert operator.accepts(calling=KNOWN)
        yield operator
        restored = operator.client.post(
            f"/api/v1/config/versions/{before}/restore", headers={"If-Match": "*"}
        )
        restored.raise_for_status()
        soon(lambda: operator.accepts(calling=STRANGER))


@contextmanager
def another_receiver(suite, number, **environment):
    """Yield one more receiver, which was started just now."""
    made = add_replica(suite, "scp", number, DRAW_SCP_TRUSTED_PROXIES="[]", **environment)
    try:
        made.start()
        yield made, int(made.environment["DRAW_SCP_PORT"])
    finally:
        suite.stop(made.name)
        del suite.services[made.name]


def test_a_receiver_started_without_the_database_is_no_more_open_than_the_suite(
    suite, postgres, guarded, tmp_path
):
    postgres.stop()
    empty = tmp_path / "empty"
    empty.mkdir()
    with (
        another_receiver(suite, 2) as (fresh, port),
        another_receiver(suite, 3, DRAW_STORAGE_ROOT=str(empty)) as (lost, closed),
    ):
        suite.wait_ready(fresh.name)
        assert guarded.refuses(calling=STRANGER, port=port)
        assert guarded.accepts(calling=KNOWN, port=port)
        soon(lambda: lost.answer("/readyz") == (503, f"configuration: {NONE_KNOWN}\n"))
        assert not listens(closed)
        assert "config.unknown" in suite.log(lost.name)
        postgres.start()
        suite.wait_ready(lost.name)
        assert guarded.refuses(calling=STRANGER, port=closed)
        assert guarded.accepts(calling=KNOWN, port=closed)


def test_receiver_killed_during_stores(suite, objects):
    sender = _sending(suite, objects, 80, pause_seconds=0)
    suite.kill("scp")
    sender.join(60)
    assert 80 <= len(sender.acknowledged) < OBJECTS
    suite.start("scp")
    _require_stored_and_indexed_once(suite, sender.acknowledged)
    rest = [one for one in objects if one.SOPInstanceUID not in sender.acknowledged]
    assert set(senders.send_objects(suite.dicom_port, rest)) == {0}
    _require_stored_and_indexed_once(suite, {str(one.SOPInstanceUID) for one in objects})
    spool = suite.storage / "spool"
    assert wait_until(lambda: not list(spool.rglob("*.dcm")) + list(spool.rglob("*.part")), 60)


def test_indexer_killed_during_stores(suite, objects):
    sender = _sending(suite, objects, 80, pause_seconds=0)
    suite.kill("indexer")
    sender.join(60)
    assert len(sender.acknowledged) == OBJECTS
    suite.start("indexer")
    _require_stored_and_indexed_once(suite, sender.acknowledged)


@pytest.mark.timeout(900 + 20 * KILL_ROUNDS)
def test_no_series_is_complete_before_its_last_association_has_ended(suite, postgres, rabbitmq):
    seed = random.randrange(2**32)
    print(f"seed {seed}, {KILL_ROUNDS} rounds")
    chance = random.Random(seed)
    with signed_in(suite.web_url) as suite.admin:
        set_config(suite, query_retrieve={"stable_after_seconds": QUIET_SECONDS})
    rounds = {}
    for _ in range(KILL_ROUNDS):
        rounds[generate_uid()] = bringers = []
        for waits in (0.0, LATER_SECONDS):
            made = Bringer(suite.dicom_port, [*rounds][-1], objects=BROUGHT, waits_seconds=waits)
            made.start()
            bringers.append(made)
        time.sleep(chance.uniform(0.1, BROUGHT * PACE_SECONDS + LATER_SECONDS))
        victim = chance.choice(("scp", "indexer", "broker", "database", "nobody"))
        print("killed", victim)
        if victim in suite.services:
            suite.kill(victim)
            suite.start(victim)
        elif victim != "nobody":
            server = postgres if victim == "database" else rabbitmq
            server.kill()
            server.start()
            suite.wait_ready("indexer")
        for each in bringers:
            each.join(120)
    uids = {uid: set.union(*(b.acknowledged for b in found)) for uid, found in rounds.items()}
    brought = [uid for uid, acknowledged in uids.items() if acknowledged]
    _require_stored_and_indexed_once(suite, set.union(*uids.values()))
    assert wait_until(lambda: suite.rows(OPEN, uids=brought) == [], RECOVERY_SECONDS)
    completed = suite.rows(COMPLETED, uids=list(rounds))
    assert {one["uid"] for one in completed} >= set(brought)
    for one in completed:
        bringers = rounds[one["uid"]]
        assert one["at"] >= max(each.ended_at for each in bringers), one
        assert one["reason"] == "quiet" or all(each.released for each in bringers), one
