"""Deliveries to receivers of all kinds, and while series and rules change under them.

Destinations that are away, full or silent, and whatever is killed: tests/faults/test_deliveries.py.
"""

from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from support import datasets, senders, service_finder
from support.certificates import Authority
from support.counting_peer import CountingPeer
from support.delivered import UNFINISHED, add_node, deliveries, put_rules
from support.suite import Suite, set_config, signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

ARRIVAL_SECONDS = 60
BROUGHT = """
    SELECT calling_ae, count(*) AS number FROM transactions
    WHERE kind = 'c-store' AND sop_instance_uid = ANY(:uids) GROUP BY 1
"""
RESULT = """
    SELECT (result->>'came_from_there')::int AS came_from_there FROM jobs
    WHERE kind = 'deliver' AND parameters->>'series_instance_uid' = :uid ORDER BY created_at
"""


@pytest.fixture(scope="module")
def suite(running_suite):
    """The suite with an administrator."""
    with signed_in(running_suite.web_url) as running_suite.admin:
        yield running_suite


@pytest.fixture
def peer(suite):
    """A receiver that counts, known as the remote node COUNTER."""
    with CountingPeer() as peer, known(suite, "COUNTER", peer):
        yield peer


@contextmanager
def known(suite, name, peer, **fields):
    """Make a peer a remote node while the block runs; then nothing is routed any more."""
    path = f"/api/v1/nodes/{add_node(suite, name, peer, max_associations=1, **fields)}"
    yield
    route_to(suite)
    # Not while a job is with it.
    assert wait_until(lambda: suite.admin.delete(path).is_success, ARRIVAL_SECONDS)


def route_to(suite, *names):
    """Send everything to these remote nodes from now on."""
    nodes = [{"kind": "node", "name": name, "remote_node": name} for name in names]
    rules = [{"name": "all", "destinations": names}] if names else []
    put_rules(suite, {"destinations": nodes, "rules": rules})


def route_instances_to(suite, name):
    """Send every object to this remote node from now on, as soon as it is resumed."""
    nodes = [{"kind": "node", "name": name, "remote_node": name}]
    rules = [{"name": "all", "trigger": "instance", "destinations": [name]}]
    put_rules(suite, {"destinations": nodes, "rules": rules})
    suite.admin.post(f"/api/v1/destinations/{name}/pause").raise_for_status()


def send(suite, made):
    """Send objects of one series and return its UID."""
    assert set(senders.send_objects(suite.dicom_port, made)) == {0}
    return str(made[0].SeriesInstanceUID)


def wait_for_ends(suite, *series, number=1):
    """Return the deliveries of these series once so many are over."""

    def over():
        found = deliveries(suite, *series)
        return len(found) >= number and all(one["finished"] for one in found)

    assert wait_until(over, ARRIVAL_SECONDS), deliveries(suite, *series)
    return deliveries(suite, *series)


def test_each_peer_gets_what_it_takes_and_says_what_it_does_not(suite, tmp_path):
    certificate = Authority(tmp_path).self_signed("device")
    made = {
        "IMPLICIT": CountingPeer("IMPLICIT", syntaxes=[ImplicitVRLittleEndian]),
        "TLS": CountingPeer("TLS", certificate=certificate),
        # The suite writes no JPEG-LS.
        "JPEG_LS": CountingPeer("JPEG_LS", syntaxes=[JPEGLSLossless]),
    }
    fields = {"TLS": {"tls": True, "tls_fingerprint": certificate.fingerprint}}
    with ExitStack() as stack:
        for name, peer in made.items():
            stack.enter_context(peer)
            stack.enter_context(known(suite, name, peer, **fields.get(name, {})))
        route_to(suite, *made)
        objects = datasets.series(3)
        found = wait_for_ends(suite, send(suite, objects), number=3)
    states = {one["destination"]: one["state"] for one in found}
    assert states == {"IMPLICIT": "delivered", "TLS": "delivered", "JPEG_LS": "failed"}
    [refused] = [one["error"] for one in found if one["state"] == "failed"]
    assert refused.startswith("3 of 3 were not taken")
    assert "takes this SOP class in no transfer syntax" in refused
    uids = {str(one.SOPInstanceUID) for one in objects}
    assert set(made["IMPLICIT"].answered) == set(made["TLS"].answered) == uids
    assert made["IMPLICIT"].syntaxes_seen == {ImplicitVRLittleEndian}
    assert made["TLS"].syntaxes_seen == {ExplicitVRLittleEndian}
    assert not made["JPEG_LS"].answered


def test_a_series_that_grows_while_it_is_received_is_sent_once(suite, peer):
    route_to(suite, "COUNTER")
    peer.pause_seconds = 1.0
    objects = datasets.series(8)
    uid = send(suite, objects[:4])
    assert wait_until(lambda: uid in peer.first_at, ARRIVAL_SECONDS)
    send(suite, objects[4:])
    wait_for_ends(suite, uid, number=2)
    assert set(peer.answered) == {str(one.SOPInstanceUID) for one in objects}
    assert peer.twice == []
    ends = [(d["state"], d["delivered_count"]) for d in deliveries(suite, uid)]
    assert ends == [("delivered", 4), ("delivered", 8)]


def test_a_series_is_not_deleted_while_it_is_sent_but_while_it_waits(suite, peer):
    route_to(suite, "COUNTER")
    peer.pause_seconds = 1.0
    # More than are begun at once with a node of one association.
    uids = [send(suite, datasets.series(5)) for _ in range(4)]

    def in_state(state):
        return [one for one in deliveries(suite, *uids) if one["state"] == state]

    def delete(one):
        return suite.admin.delete(f"/api/v1/studies/{one['study']}", params={"reason": "a test"})

    assert wait_until(lambda: in_state("running") and in_state("pending"), ARRIVAL_SECONDS)
    refused = delete(in_state("running")[-1])
    assert refused.status_code == 409
    assert "A job that is not finished names this study" in refused.json()["detail"]
    gone = in_state("pending")[-1]
    assert delete(gone).is_success
    ends = {one["series"]: one for one in wait_for_ends(suite, *uids, number=4)}
    deleted = ends.pop(gone["series"])
    assert deleted["state"] == "superseded"
    assert deleted["error"] == "it was deleted here before it was sent"
    assert gone["series"] not in peer.first_at
    assert [one["state"] for one in ends.values()] == ["delivered"] * 3


def test_a_destination_that_leaves_the_rules_ends_what_waits_for_it_and_nothing_else(suite, peer):
    with CountingPeer("LEAVING") as leaving, known(suite, "LEAVING", leaving):
        leaving.stop()
        route_to(suite, "COUNTER", "LEAVING")
        uid = send(suite, datasets.series(2))
        assert wait_until(
            lambda: {d["state"] for d in deliveries(suite, uid)} == {"delivered", "waiting"},
            ARRIVAL_SECONDS,
        )
        route_to(suite, "COUNTER")
        found = {d["destination"]: d for d in wait_for_ends(suite, uid, number=2)}
    assert found["COUNTER"]["state"] == "delivered"
    assert found["LEAVING"]["state"] == "failed"
    assert found["LEAVING"]["error"] == "the rules have no such destination any more"


def test_one_that_accepts_and_never_answers_holds_up_no_other(suite, peer):
    with CountingPeer("SILENT") as silent, known(suite, "SILENT", silent, timeout_seconds=2):
        silent.fall_silent()
        route_to(suite, "COUNTER", "SILENT")
        series = [send(suite, datasets.series(2)) for _ in range(3)]
        assert wait_until(lambda: set(series) <= set(peer.first_at), ARRIVAL_SECONDS)
        # Its answers are not waited for longer than the node's timeout.
        assert wait_until(
            lambda: [d for d in deliveries(suite, *series) if d["attempts"]], ARRIVAL_SECONDS
        )
        silent.answer_again()
        wait_for_ends(suite, *series, number=6)
        states = {d["state"] for d in deliveries(suite, *series)}
    assert states == {"delivered"}


def test_single_objects_go_in_one_association_and_a_refused_one_holds_up_no_other(suite, peer):
    route_instances_to(suite, "COUNTER")
    objects = datasets.series(30)
    peer.refuses = {str(objects[4].SOPInstanceUID)}
    uid = send(suite, objects)
    assert wait_until(lambda: len(deliveries(suite, uid)) == 30, ARRIVAL_SECONDS)
    suite.admin.post("/api/v1/destinations/COUNTER/resume").raise_for_status()

    def states():
        return Counter(one["state"] for one in deliveries(suite, uid))

    assert wait_until(lambda: states()["delivered"] == 29, ARRIVAL_SECONDS), states()

    def waits_alone():
        left = [one for one in deliveries(suite, uid) if one["state"] == "waiting"]
        return [one for one in left if "1 of 1 were not taken" in one["error"]]

    assert wait_until(waits_alone, ARRIVAL_SECONDS)
    # One with all, the others for the one that is refused.
    assert peer.associations < 10
    peer.refuses = set()
    wait_for_ends(suite, uid, number=30)
    assert states() == {"delivered": 30}
    assert peer.twice == []
    assert {one["delivered_count"] for one in deliveries(suite, uid)} == {1}


@pytest.fixture(scope="module")
def other_suite(tmp_path_factory, postgres_url, template, broker):
    """A second suite with an AE title of its own."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        other = Suite(tmp_path_factory.mktemp("other"), database_url, broker_url)
        other.seed()
        try:
            other.start()
            with signed_in(other.web_url) as other.admin:
                set_config(other, network={"ae_title": "OTHER"})
                yield other
        finally:
            other.end()


class Receiver:
    """A suite as the remote node of another."""

    def __init__(self, suite, ae_title):
        self.port, self.ae_title = suite.dicom_port, ae_title


@pytest.mark.parametrize("calling", ["", "UNKNOWN"], ids=["by sender", "by content"])
def test_two_suites_that_send_everything_to_each_other_come_to_rest(suite, other_suite, calling):
    """`calling` is as whom both send: a title by which neither knows the other, or its own."""
    here, there = Receiver(suite, "DRAW_SCP"), Receiver(other_suite, "OTHER")
    with (
        known(suite, "OTHER", there, calling_ae=calling),
        known(other_suite, "HERE", here, calling_ae=calling),
    ):
        route_to(suite, "OTHER")
        route_to(other_suite, "HERE")
        objects = datasets.series(3)
        uid = send(suite, objects)
        # When a later series has gone the same way, whatever came back of the first is complete.
        later = send(suite, datasets.series(1))
        for one in (uid, later):
            for each in (suite, other_suite):
                found = wait_for_ends(each, one)
                assert {(d["state"], d["delivered_count"]) for d in found} == {
                    ("delivered", found[0]["instance_count"])
                }
        for each in (suite, other_suite):
            assert wait_until(lambda each=each: not each.rows(UNFINISHED), ARRIVAL_SECONDS)
        once = {calling or "DRAW_SCP": 3}
        expected = [{"TESTER": 3} | (once if calling else {}), once]
        uids = [str(one.SOPInstanceUID) for one in objects]

        def brought():
            return [
                {row["calling_ae"]: row["number"] for row in each.rows(BROUGHT, uids=uids)}
                for each in (suite, other_suite)
            ]

        # The log of transactions comes a moment after the objects.
        wait_until(lambda: brought() == expected, ARRIVAL_SECONDS)
        assert brought() == expected
        [result] = other_suite.rows(RESULT, uid=uid)[:1]
        assert result["came_from_there"] == (0 if calling else 3)
