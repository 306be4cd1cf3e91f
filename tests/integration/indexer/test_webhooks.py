"""Webhooks: told of each change once, signed, and no receiver keeps another one waiting.

Not covered: the services as processes (tests/e2e/test_storage_care.py).
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook

from draw_indexer.adapters import webhook_queries
from draw_indexer.adapters.feed_queries import PostgresFeedRepository
from draw_indexer.adapters.webhook_queries import CLAIM, PostgresDeliveryRepository
from draw_indexer.adapters.webhook_sender import HttpDeliverySender, resolve
from draw_indexer.services.webhooks import MAX_UNDER_WAY, WebhookDeliveryService
from support import arrivals
from support import hook_receiver as receivers
from support.certificates import Authority
from support.hook_receiver import faulty_receiver, hook_receiver
from support.waiting import wait_until

pytestmark = pytest.mark.integration

PAUSES = (0.2, 0.2)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
EXAMPLE = Path(__file__).resolve().parents[3] / "docs/examples/webhook_receiver.py"


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def database(own_database):
    execute(own_database, "DELETE FROM webhooks")
    execute(own_database, "DELETE FROM feed_positions")
    execute(own_database, "DELETE FROM changes")
    return own_database


DEADLINE_SECONDS = 300
"""Longer than any test here takes."""


class Indexer:
    """The webhooks' part of one indexer, which runs until the end of a `with` block."""

    def __init__(self, database, *, timeout_seconds=2, pauses=PAUSES, failing_seconds=3600, **more):
        self.counted = []
        self.sender = HttpDeliverySender(timeout_seconds=timeout_seconds, **more)
        self.deliveries = PostgresDeliveryRepository(database, max_failing_seconds=failing_seconds)
        self._ended = threading.Event()
        self.dispatcher = WebhookDeliveryService(
            self.deliveries,
            self.sender,
            time.time,
            self.counted.append,
            pauses,
            self._ended.is_set,
        )
        self.sender.start()
        self.dispatcher.fan_out()

    def deliver(self):
        self.dispatcher.fan_out()
        self.dispatcher.deliver()

    @contextmanager
    def delivering(self):
        """Deliver all the time, with a thread of its own as in the service."""

        def again_and_again():
            while not self._ended.wait(0.05):
                self.dispatcher.deliver()

        thread = threading.Thread(target=again_and_again)
        thread.start()
        try:
            yield
        finally:
            self.end()
            thread.join()

    def end(self):
        self._ended.set()
        self.sender.stop(5)


@pytest.fixture
def long_leases(monkeypatch):
    """Leases outlast the deadline of a sender, as the shipped ones do."""
    monkeypatch.setattr(webhook_queries, "LEASE_SECONDS", 2 * DEADLINE_SECONDS)


@pytest.fixture
def indexer(database):
    made = Indexer(database)
    yield made
    made.end()


def execute(database, statement, **values):
    with database.session() as session:
        session.connection().execute(text(statement), values)
        session.commit()


def scalars(database, query, **values):
    return [next(iter(row.values())) for row in arrivals.rows(database, query, **values)]


def add_webhook(database, url, *kinds):
    execute(
        database,
        "INSERT INTO webhooks (url, secret, kinds) VALUES (:url, :secret, :kinds)",
        url=url,
        secret=SECRET,
        kinds=list(kinds) or ["series.stable"],
    )


def change(database, number=1):
    execute(
        database,
        "INSERT INTO changes (kind, study_instance_uid, series_instance_uid)"
        " SELECT 'series.stable', '1.2.3', '1.2.3.' || n FROM generate_series(1, :number) n",
        number=number,
    )


def states(database):
    return scalars(database, "SELECT state || ' ' || attempts FROM webhook_deliveries ORDER BY id")


def delivered(database, url):
    (number,) = scalars(
        database,
        "SELECT count(*) FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
        " WHERE w.url = :url AND d.state = 'delivered'",
        url=url,
    )
    return number


def test_a_change_is_told_once_and_signed(database, indexer):
    with hook_receiver() as receiver:
        add_webhook(database, receiver.url + "/hook?x=1", "series.stable", "study.deleted")
        change(database)
        indexer.deliver()
        indexer.deliver()
    ((headers, body),) = receiver.requests
    told = json.loads(body)
    assert (told["kind"], told["series_instance_uid"]) == ("series.stable", "1.2.3.1")
    assert told["sequence"] > 0
    assert Webhook(SECRET).verify(body, headers) == told
    assert not [name for name in headers if name.startswith("X-")]
    assert states(database) == ["delivered 1"]


def test_failures_are_tried_again_and_then_dead(database, indexer):
    with hook_receiver(500, 302, 503) as receiver:
        add_webhook(database, receiver.url)
        change(database)
        for expected in ("pending 1", "pending 2", "dead 3"):
            indexer.deliver()
            assert states(database) == [expected]
            time.sleep(PAUSES[0] * 1.3)
        indexer.deliver()
        assert len(receiver.requests) == 3, "a redirect is a failure and is not followed"
        assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    assert scalars(database, "SELECT last_status FROM webhook_deliveries") == [503]


def test_a_receiver_that_comes_back_gets_what_it_missed(database, indexer):
    with hook_receiver(500) as receiver:
        add_webhook(database, receiver.url)
        change(database)
        indexer.deliver()
        assert scalars(database, "SELECT failing_since IS NULL FROM webhooks") == [False]
        change(database)
        time.sleep(PAUSES[0] * 1.3)
        indexer.deliver()
        told = {json.loads(body)["sequence"] for _, body in receiver.requests}
        assert len(told) == 2
    assert set(states(database)) == {"delivered 1", "delivered 2"}
    assert scalars(database, "SELECT failing_since IS NULL FROM webhooks") == [True]


def test_a_secret_that_was_replaced_signs_for_a_while(database, indexer):
    former = SECRET.replace("MD", "AD")
    with hook_receiver() as receiver:
        add_webhook(database, receiver.url)
        for until_when in ("1 hour", "-1 hour"):
            execute(
                database,
                "UPDATE webhooks SET previous_secret = :former,"
                " previous_secret_until = now() + CAST(:until AS interval)",
                former=former,
                until=until_when,
            )
            change(database)
            indexer.deliver()
    (both, one), bodies = zip(*receiver.requests, strict=True)
    Webhook(former).verify(bodies[0], both)
    Webhook(SECRET).verify(bodies[0], both)
    assert (len(both["webhook-signature"].split()), len(one["webhook-signature"].split())) == (2, 1)


def test_the_example_of_a_receiver_takes_what_is_genuine_once(database, indexer):
    with subprocess.Popen(
        [sys.executable, EXAMPLE, "--port", "0"],
        env=os.environ | {"DRAW_WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    ) as example:
        try:
            url = f"http://127.0.0.1:{re.search('[0-9]+', example.stdout.readline())[0]}/"
            assert httpx.post(url, content=b"{}").status_code == 401
            forged = {"webhook-id": "msg_1", "webhook-timestamp": "x", "webhook-signature": "v1"}
            assert httpx.post(url, content=b"{}", headers=forged).status_code == 401
            add_webhook(database, url)
            change(database)
            indexer.deliver()
            execute(
                database, "UPDATE webhook_deliveries SET state = 'pending', next_attempt_at = now()"
            )
            change(database)
            indexer.deliver()
        finally:
            example.terminate()
        told = [json.loads(line)["series_instance_uid"] for line in example.stdout]
    assert sorted(states(database)) == ["delivered 1", "delivered 2"]
    assert len(told) == 2


def test_a_secret_that_cannot_be_used_stops_no_other_webhook(database, indexer):
    with hook_receiver() as receiver:
        for url, secret in (("http://127.0.0.1:1/", "x"), ("http://127.0.0.1:1/", "")):
            add_webhook(database, url)
            execute(
                database,
                "UPDATE webhooks SET secret = :secret WHERE id = (SELECT max(id) FROM webhooks)",
                secret=secret,
            )
        add_webhook(database, receiver.url)
        change(database)
        indexer.deliver()
    assert sorted(states(database)) == ["delivered 1", "pending 1", "pending 1"]


def test_what_happened_before_a_webhook_was_made_is_not_told(database, indexer):
    change(database, 3)
    add_webhook(database, "http://127.0.0.1:1/")
    execute(
        database,
        "UPDATE webhooks SET since_sequence = (SELECT max(sequence) FROM changes),"
        " created_at = now() + interval '1 hour'",
    )
    change(database)
    indexer.dispatcher.fan_out()
    assert scalars(database, "SELECT count(*) FROM webhook_deliveries") == [1]


# --- receivers that do not behave ----------------------------------------------------------------


@pytest.mark.usefixtures("long_leases")
@pytest.mark.parametrize("copies", [1, 40])
@pytest.mark.parametrize("fault", [receivers.hang, receivers.drip_headers])
def test_a_receiver_that_hangs_keeps_no_other_waiting(database, fault, copies):
    """All that is sent to the others arrives while nothing sent to the faulty ones has ended."""
    change_count = 20
    indexer = Indexer(database, timeout_seconds=DEADLINE_SECONDS)
    with ExitStack() as stack:
        faulty = stack.enter_context(faulty_receiver(fault))
        healthy = [stack.enter_context(hook_receiver()) for _ in range(3)]
        for number in range(copies):
            add_webhook(database, f"{faulty}/{number}")
        for receiver in healthy:
            add_webhook(database, receiver.url)
        change(database, change_count)
        indexer.dispatcher.fan_out()
        stack.enter_context(indexer.delivering())
        assert wait_until(
            lambda: all(delivered(database, r.url) == change_count for r in healthy), 60
        )
        # The feed goes on meanwhile.
        change(database)
        assert indexer.dispatcher.fan_out() == 1
        assert wait_until(
            lambda: all(delivered(database, r.url) == change_count + 1 for r in healthy), 60
        )
        tried = scalars(
            database,
            "SELECT sum(attempts) FROM webhook_deliveries d JOIN webhooks w"
            " ON w.id = d.webhook_id WHERE starts_with(w.url, :url) GROUP BY w.id",
            url=faulty,
        )
        assert tried == [MAX_UNDER_WAY] * copies
        senders = [t.name for t in threading.enumerate() if t.name.startswith("webhook")]
        assert senders.count("webhook sender") == 1
        assert len(senders) < 10, "threads do not grow with what hangs"


@pytest.mark.usefixtures("long_leases")
def test_two_senders_send_each_delivery_once_beside_one_that_hangs(database):
    indexers = [Indexer(database, timeout_seconds=DEADLINE_SECONDS) for _ in range(2)]
    with faulty_receiver(receivers.hang) as faulty, hook_receiver() as receiver:
        add_webhook(database, faulty)
        add_webhook(database, receiver.url)
        change(database, 30)
        indexers[0].dispatcher.fan_out()
        with indexers[0].delivering(), indexers[1].delivering():
            assert wait_until(lambda: delivered(database, receiver.url) == 30, 60)
        assert len(receiver.requests) == 30


@pytest.mark.usefixtures("long_leases")
def test_names_that_are_never_found_keep_no_other_waiting(database):
    ended = threading.Event()

    def slow(host, port):
        if host.endswith(".example"):
            ended.wait()
        return resolve(host, port)

    indexer = Indexer(database, timeout_seconds=DEADLINE_SECONDS, resolve=slow)
    with hook_receiver() as receiver, indexer.delivering():
        for number in range(20):
            add_webhook(database, f"http://slow.example/{number}")
        add_webhook(database, receiver.url)
        change(database, 10)
        indexer.dispatcher.fan_out()
        assert wait_until(lambda: delivered(database, receiver.url) == 10, 60)
        looking_up = [t for t in threading.enumerate() if t.name == "webhook name"]
        assert len(looking_up) == 1, "whoever looks for the same name shares a thread"
        ended.set()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (receivers.hang, "no complete answer within 1 s"),
        (receivers.drip_headers, "no complete answer within 1 s"),
        (receivers.drip_body, "no complete answer within 1 s"),
        (receivers.continue_for_ever, "no complete answer within 1 s"),
        (receivers.endless_headers, "no HTTP answer"),
        (receivers.speak_no_http, "no HTTP answer"),
        (receivers.reset, "Connection reset by peer"),
    ],
)
def test_what_is_no_answer_is_a_failure_in_words(database, fault, reason):
    indexer = Indexer(database, timeout_seconds=1)
    with faulty_receiver(fault) as url:
        add_webhook(database, url)
        change(database)
        indexer.deliver()
        indexer.end()
    assert states(database) == ["pending 1"]
    assert scalars(database, "SELECT last_error FROM webhook_deliveries") == [reason]


def test_a_receiver_that_hangs_before_tls_is_up_has_the_same_deadline(database):
    indexer = Indexer(database, timeout_seconds=1)
    with faulty_receiver(receivers.hang) as silent, faulty_receiver(receivers.speak_no_http) as odd:
        for url in (silent, odd):
            add_webhook(database, url.replace("http:", "https:"))
        change(database)
        indexer.deliver()
        indexer.end()
    reasons = scalars(database, "SELECT last_error FROM webhook_deliveries ORDER BY id")
    assert reasons == ["no complete answer within 1 s", "TLS: WRONG_VERSION_NUMBER"]


def test_a_certificate_that_nobody_vouches_for_is_refused(database, tmp_path):
    indexer = Indexer(database)
    certificate = Authority(tmp_path).sign("localhost")
    with hook_receiver(certificate=certificate) as receiver:
        add_webhook(database, receiver.url)
        change(database)
        indexer.deliver()
        indexer.end()
    (reason,) = scalars(database, "SELECT last_error FROM webhook_deliveries")
    assert reason.startswith("TLS: unable to get local issuer certificate")
    assert receiver.requests == []


@pytest.mark.parametrize(
    "fault", [receivers.endless_body, receivers.flood_of_chunks, receivers.chunk_after_chunk]
)
def test_an_answer_without_end_counts_by_its_status(database, fault):
    indexer = Indexer(database, timeout_seconds=30)
    with faulty_receiver(fault) as url:
        add_webhook(database, url)
        change(database)
        indexer.deliver()
        indexer.end()
    assert states(database) == ["delivered 1"]


def test_a_flood_before_the_answer_is_broken_off_long_before_the_deadline(database):
    """Whoever sends as fast as is read would keep the one thread from all others."""
    indexer = Indexer(database, timeout_seconds=30)
    with faulty_receiver(receivers.flood_of_interim_answers) as url:
        add_webhook(database, url)
        change(database)
        indexer.deliver()
        indexer.end()
    reasons = scalars(database, "SELECT last_error FROM webhook_deliveries")
    assert reasons == ["the answer has too many bytes"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "Connection refused"),
        ("http://nowhere.invalid/", "the name has no address"),
        ("http://inside.example/", "this address may not be used"),
        ("http://[::ffff:169.254.169.254]/", "this address may not be used"),
        ("http://2852039166/latest/meta-data", "this address may not be used"),
    ],
)
def test_what_cannot_be_connected_to_is_a_failure_in_words(database, url, reason):
    def rebound(host, port):
        return ["169.254.169.254"] if host == "inside.example" else resolve(host, port)

    indexer = Indexer(database, resolve=rebound)
    add_webhook(database, url)
    change(database)
    indexer.deliver()
    indexer.end()
    assert scalars(database, "SELECT last_error FROM webhook_deliveries") == [reason]


def test_a_name_with_several_addresses_is_reached_by_one_that_may_and_answers(database):
    indexer = Indexer(database, resolve=lambda *_: ["169.254.169.254", "127.0.0.2", "127.0.0.1"])
    with hook_receiver() as receiver:
        add_webhook(database, receiver.url.replace("127.0.0.1", "many.example"))
        change(database)
        indexer.deliver()
        indexer.end()
    ((headers, _),) = receiver.requests
    assert headers["Host"].startswith("many.example:")


def test_one_that_fails_rests_and_loses_nothing(database):
    indexer = Indexer(database, pauses=(300,))
    add_webhook(database, "http://127.0.0.1:1/")
    change(database, 50)
    indexer.deliver()
    indexer.end()
    found = states(database)
    assert len(found) == found.count("pending 1") + found.count("pending 0") == 50
    assert MAX_UNDER_WAY <= found.count("pending 1") < 2 * MAX_UNDER_WAY


# --- webhooks that are given up ------------------------------------------------------------------


def disabled(database):
    return arrivals.rows(database, "SELECT active, disabled_reason FROM webhooks ORDER BY id")


def test_gone_means_gone(database, indexer):
    with hook_receiver(410) as receiver:
        add_webhook(database, receiver.url)
        change(database)
        indexer.deliver()
        change(database)
        indexer.deliver()
        assert len(receiver.requests) == 1
    assert states(database) == ["dead 1"]
    assert disabled(database) == [{"active": False, "disabled_reason": "gone"}]
    assert indexer.counted == ["dead", "disabled"]


def test_one_that_has_failed_for_days_is_disabled_and_another_is_not(database):
    indexer = Indexer(database, failing_seconds=86_400)
    with hook_receiver() as receiver:
        add_webhook(database, "http://127.0.0.1:1/")
        add_webhook(database, receiver.url)
        execute(database, "UPDATE webhooks SET failing_since = now() - interval '2 days'")
        change(database, 2)
        indexer.deliver()
        indexer.end()
    assert disabled(database) == [
        {"active": False, "disabled_reason": "failing"},
        {"active": True, "disabled_reason": ""},
    ]


# --- what is kept --------------------------------------------------------------------------------


def nodes(plan):
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def test_kept_deliveries_cost_the_claim_nothing(database, indexer):
    for number in range(3):
        add_webhook(database, f"http://127.0.0.1:1/{number}")
    execute(
        database,
        "INSERT INTO webhook_deliveries (webhook_id, sequence, state, finished_at)"
        " SELECT w.id, n, 'delivered', now() - make_interval(secs => n)"
        " FROM webhooks w, generate_series(1, 20000) n",
    )
    change(database, 40)
    indexer.dispatcher.fan_out()
    execute(database, "ANALYZE webhook_deliveries")
    values = {"ids": [], "room": [], "usual": MAX_UNDER_WAY, "lease": 60.0}
    with database.session() as session:
        connection = session.connection()
        explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM.text}")
        (plan,) = connection.execute(explain, values).scalar_one()
        session.rollback()
    read = [n for n in nodes(plan["Plan"]) if n.get("Relation Name") == "webhook_deliveries"]
    assert all(node["Node Type"] != "Seq Scan" for node in read)
    (due,) = [n for n in read if n.get("Index Name") == "ix_webhook_deliveries_due"]
    assert due["Actual Rows"] <= MAX_UNDER_WAY
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 1000


def test_old_deliveries_and_changes_are_forgotten_however_many(database, indexer, monkeypatch):
    monkeypatch.setattr("draw_indexer.adapters.webhook_queries.FORGOTTEN_AT_ONCE", 7)
    monkeypatch.setattr("draw_indexer.adapters.feed_queries.TRIMMED_AT_ONCE", 7)
    add_webhook(database, "http://127.0.0.1:1/")
    execute(
        database,
        "INSERT INTO webhook_deliveries (webhook_id, sequence, state, finished_at)"
        " SELECT w.id, 1000 * d + length(s) * 100 + n, s, now() - make_interval(days => d)"
        " FROM webhooks w, generate_series(1, 30) n, (VALUES ('delivered', 6), ('delivered', 8),"
        " ('dead', 8), ('dead', 91)) AS kept (s, d)",
    )
    execute(
        database,
        "INSERT INTO changes (occurred_at)"
        " SELECT now() - interval '91 days' FROM generate_series(1, 30)",
    )
    indexer.dispatcher.fan_out()
    indexer.deliveries.forget_old(delivered_days=7, dead_days=90)
    PostgresFeedRepository(database).trim(90)
    kept = "SELECT state || count(*) FROM webhook_deliveries GROUP BY state ORDER BY 1"
    assert scalars(database, kept) == ["dead30", "delivered30"]
    assert scalars(database, "SELECT count(*) FROM changes") == [0]
