"""Deliveries while anything is killed, and while a destination is away.

No series is lost, none is delivered before it is complete, and a receiver that counts gets nothing
twice, except what was under way when the worker or its database was killed: what the peer has
answered and nobody could write down. `DRAW_TEST_KILL_ROUNDS=100 pytest
tests/faults/test_deliveries.py -k killed` repeats it for longer.
"""

import os
import random
import signal
import time

import psutil
import pytest
from pydicom.uid import generate_uid

from support import datasets, faults, senders
from support.bringing import PACE_SECONDS, Bringer
from support.counting_peer import CountingPeer
from support.delivered import UNFINISHED, add_node, deliveries, put_rules
from support.suite import Suite, set_config, signed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

KILL_ROUNDS = int(os.environ.get("DRAW_TEST_KILL_ROUNDS", "4"))
BROUGHT = 6
LATER_SECONDS = 1.0
QUIET_SECONDS = 8
RECOVERY_SECONDS = 120
VICTIMS = ("scp", "child", "indexer", "qr-worker", "broker", "database", "nobody")
UNWRITTEN = ("qr-worker", "database")
"""Victims whose death may lose what a peer has just answered."""
MAX_UNDER_WAY = 2 * BROUGHT
"""Objects that a death can have sent again: those of a series, at two destinations."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The suite's PostgreSQL, which these tests may kill."""
    with faults.own_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    """The suite's RabbitMQ, which these tests may kill."""
    with faults.own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def peers():
    """Three receivers that count."""
    with CountingPeer("FIRST") as first, CountingPeer("SECOND") as second, CountingPeer() as third:
        yield first, second, third


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres, rabbitmq, peers):
    """All four services on servers of their own; everything goes to a node and to a folder."""
    suite = Suite(
        tmp_path_factory.mktemp("suite"),
        postgres.url("draw"),
        rabbitmq.url(),
        DRAW_QR_WORKER_LEASE_SECONDS="4",
    )
    suite.broker_urls = rabbitmq.service_urls()
    suite.seed()
    try:
        suite.start()
        with signed_in(suite.web_url) as suite.admin:
            set_config(suite, query_retrieve={"stable_after_seconds": QUIET_SECONDS})
            for name, peer in zip(("first", "second", "third"), peers, strict=True):
                # One association at a time, so that the order of arrival is that of sending.
                add_node(suite, name, peer, max_associations=1)
        yield suite
    finally:
        suite.end()


def kill(suite, postgres, rabbitmq, victim, away_seconds=0):
    """Kill one of the suite or beneath it, and start it again, perhaps after a while."""
    if victim == "child":
        receiver = psutil.Process(suite.services["scp"].pid)
        children = receiver.children(recursive=True)
        if children:
            os.kill(random.choice(children).pid, signal.SIGKILL)
    elif victim in suite.services:
        suite.kill(victim)
        time.sleep(away_seconds)
        suite.start(victim)
    elif victim != "nobody":
        server = postgres if victim == "database" else rabbitmq
        server.kill()
        time.sleep(away_seconds)
        server.start()
        suite.wait_ready("indexer")
        suite.wait_ready("qr-worker")


@pytest.mark.timeout(900 + 40 * KILL_ROUNDS)
def test_whatever_is_killed_everything_is_delivered_once_and_complete(
    suite, postgres, rabbitmq, peers, tmp_path
):
    seed = random.randrange(2**32)
    print(f"seed {seed}, {KILL_ROUNDS} rounds")
    chance = random.Random(seed)
    folder, counter = tmp_path / "handler", peers[0]
    with signed_in(suite.web_url) as suite.admin:
        put_rules(
            suite,
            {
                "destinations": [
                    {"kind": "node", "name": "node", "remote_node": "first"},
                    {"kind": "folder", "name": "folder", "path": str(folder)},
                ],
                "rules": [{"name": "all", "destinations": ["node", "folder"]}],
            },
        )
    rounds, victims = {}, []
    for _ in range(KILL_ROUNDS):
        rounds[generate_uid()] = bringers = []
        for waits in (0.0, LATER_SECONDS):
            made = Bringer(suite.dicom_port, [*rounds][-1], objects=BROUGHT, waits_seconds=waits)
            made.start()
            bringers.append(made)
        # Up to the deliveries of this round, which begin some seconds after its end.
        time.sleep(chance.uniform(0.1, BROUGHT * PACE_SECONDS + LATER_SECONDS + 4))
        victims.append(chance.choice(VICTIMS))
        print("killed", victims[-1])
        kill(suite, postgres, rabbitmq, victims[-1], chance.choice((0, QUIET_SECONDS + 2)))
        for each in bringers:
            each.join(120)
    brought = {uid: set.union(*(b.acknowledged for b in r)) for uid, r in rounds.items()}
    brought = {uid: objects for uid, objects in brought.items() if objects}

    def there():
        files = {uid: {f.stem for f in (folder / uid).glob("*.dcm")} for uid in brought}
        return all(
            objects <= set(counter.answered) and objects <= files[uid]
            for uid, objects in brought.items()
        )

    arrived = wait_until(there, RECOVERY_SECONDS)
    assert arrived, [d for d in deliveries(suite, *brought) if d["state"] != "delivered"]
    assert wait_until(lambda: suite.rows(UNFINISHED) == [], RECOVERY_SECONDS)
    assert {d["state"] for d in deliveries(suite, *brought)} <= {"delivered", "superseded"}
    for uid in brought:
        ended = max(each.ended_at for each in rounds[uid])
        assert counter.first_at[uid] >= ended, uid
    deaths = sum(victim in UNWRITTEN for victim in victims)
    print(f"{len(counter.twice)} objects twice after {deaths} deaths of worker or database")
    assert len(counter.twice) <= deaths * MAX_UNDER_WAY


def routed_to(suite, *destinations, **group):
    """Send everything to these nodes from now on; with a group, to the group of them."""
    nodes = [{"kind": "node", "name": n, "remote_node": n} for n in destinations]
    groups = [{"kind": "group", "name": "group", "members": destinations, **group}] if group else []
    with signed_in(suite.web_url) as suite.admin:
        put_rules(
            suite,
            {
                "destinations": nodes + groups,
                "rules": [{"name": "all", "destinations": ["group"] if group else destinations}],
            },
        )


def send(suite, number=1, objects=2):
    """Send so many series, one after another, and return their UIDs."""
    sent = []
    for _ in range(number):
        made = datasets.series(objects)
        assert set(senders.send_objects(suite.dicom_port, made)) == {0}
        sent.append(str(made[0].SeriesInstanceUID))
    return sent


def test_a_destination_that_was_away_gets_everything_oldest_first(suite, peers):
    first, second, _ = peers
    routed_to(suite, "first", "second")
    first.stop()
    series = []
    for _ in range(8):
        series += send(suite)
        time.sleep(0.5)
    assert wait_until(lambda: set(series) <= set(second.first_at), 30)
    states = {d["state"] for d in deliveries(suite, *series) if d["destination"] == "first"}
    assert states <= {"pending", "waiting", "running"}
    # It was a weekend: everything that waits for a moment has waited long.
    suite.execute("UPDATE deliveries SET created_at = created_at - interval '60 hours'")
    first.start()
    assert wait_until(lambda: set(series) <= set(first.first_at), 120)
    came = [uid for uid in first.order if uid in set(series)]
    # Series that were complete in the same moment have no order among themselves.
    assert came == [d["series"] for d in deliveries(suite, *series) if d["destination"] == "first"]
    assert first.twice == []


def test_the_second_takes_over_and_the_first_gets_the_next_when_it_is_back(suite, peers):
    first, second, _ = peers
    routed_to(suite, "first", "second", mode="failover", after_failures=1, after_seconds=5)
    first.stop()
    (lost,) = send(suite)
    assert wait_until(lambda: lost in second.first_at, 30)
    first.start()

    def back():
        (uid,) = send(suite)
        return wait_until(lambda: uid in first.first_at, 10)

    assert wait_until(back, 120)
    assert [d["target"] for d in deliveries(suite, lost)] == ["second"]


def test_the_second_takes_over_from_one_that_never_answers(suite, peers):
    first, second, _ = peers
    routed_to(suite, "first", "second", mode="failover", after_failures=1, after_seconds=5)
    first.fall_silent()
    try:
        (uid,) = send(suite)
        assert wait_until(lambda: uid in second.first_at, 30)
        assert wait_until(lambda: [d["state"] for d in deliveries(suite, uid)] == ["delivered"], 30)
    finally:
        first.answer_again()


def test_one_that_is_full_for_a_while_gets_all_and_others_do_not_wait(suite, peers):
    _, second, third = peers
    routed_to(suite, "second", "third")
    third.status = 0xA700
    series = send(suite, 3)
    assert wait_until(lambda: set(series) <= set(second.first_at), 30)
    assert not third.answered
    third.status = 0xB000
    assert wait_until(
        lambda: {d["state"] for d in deliveries(suite, *series)} == {"delivered"}, 120
    )
    third.status = 0
    assert third.twice == []
