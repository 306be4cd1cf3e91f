"""Three RabbitMQ nodes, of which one runs alone when the suite declares its queues.

The nodes have the production broker's settings (deploy/k8s). A release that can (3.13 and
later) adds the missing members by them; for an earlier one the runbook's command is given.
Then one node after the other is killed while objects are stored. The alert is evaluated by
Prometheus from what the nodes show. Not covered: nodes that run and do not reach each other.
"""

import re

import pytest

from draw_shared.messaging.queue_depths import QUEUES
from draw_shared.messaging.topology import INSTANCE_STORED
from support import service_finder
from support.alert_faults import OF_A_BROKER_CLUSTER
from support.broker_cluster import RECONCILIATION, broker_cluster, known_settings
from support.prometheus import prometheus
from support.service_finder import ROOT
from support.steady_stores import SteadyStores
from support.suite import Suite
from support.waiting import wait_until

REVIVAL_SECONDS = 120
"""Queues elect leaders and take members back one after the other."""
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.fault,
    pytest.mark.needs("haproxy", "prometheus", "rabbitmq-server"),
]

INDEXED = "SELECT sop_instance_uid FROM instances WHERE sop_instance_uid = ANY(:uids)"
STORES = 50
BEFORE, AFTER = 10, 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with broker_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.start(made.nodes[0])
        yield made


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres_url, template, cluster):
    """Receiver and indexer, which have declared their queues on the only node."""
    with service_finder.cloned_database(postgres_url, template) as database_url:
        made = Suite(tmp_path_factory.mktemp("suite"), database_url, cluster.url)
        made.seed()
        try:
            made.start("scp", "indexer")
            yield made
        finally:
            made.end()


@pytest.fixture(scope="module")
def watching(tmp_path_factory, cluster):
    ports = [node.metrics_port for node in cluster.nodes]
    with prometheus(tmp_path_factory.mktemp("prometheus"), {"rabbitmq-members": ports}) as server:
        yield server


def _sizes(cluster):
    return {name: len(queue.members) for name, queue in cluster.queues().items()}


def _reconcile(cluster):
    """Do what docs/operations.md says, where the broker does not do it by itself."""
    if RECONCILIATION in known_settings():
        return
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^rabbitmq-queues grow .+$", page, re.MULTILINE)
    for node in cluster.nodes:
        cluster.nodes[0].command(*command.replace("NODE", node.node).split())


def _store(suite, meanwhile):
    """Store objects, some before something happens and some after it; return their UIDs."""
    stores = SteadyStores(suite.dicom_port, STORES, ("127.0.0.2",))
    stores.start()
    try:
        assert wait_until(lambda: len(stores.stored) >= BEFORE, 60)
        meanwhile()
        seen = len(stores.stored)
        assert wait_until(lambda: len(stores.stored) >= seen + AFTER, 60)
    finally:
        stores.wait(60)
    assert stores.failures == []
    return stores.stored


def _require_indexed_once(suite, uids):
    # What the broker has confirmed and does not deliver is announced again after a minute.
    # Three nodes that elect leaders on a busy machine take minutes.
    rows = suite.wait_for_rows(len(uids), INDEXED, REVIVAL_SECONDS, uids=uids)
    assert sorted(row["sop_instance_uid"] for row in rows) == sorted(uids), suite.log("indexer")[
        -3000:
    ]


def _restart_what_has_no_leader(cluster, suite, uids):
    """Do what a person would who sees that the nodes run and none leads the queue."""
    if len(suite.wait_for_rows(len(uids), INDEXED, REVIVAL_SECONDS / 2, uids=uids)) < len(uids):
        roles = cluster.roles(INSTANCE_STORED)
        assert "leader" not in roles.values(), (roles, suite.log("indexer")[-3000:])
        for node in cluster.nodes:
            node.kill()
        cluster.revive()


def test_queues_declared_on_the_only_node_have_one_member_and_the_alert_says_so(
    cluster, suite, watching
):
    assert _sizes(cluster) == dict.fromkeys(QUEUES, 1)
    watching.wait_until_fired(*OF_A_BROKER_CLUSTER)


def test_nodes_that_join_are_made_members_and_the_alert_clears(cluster, suite, watching):
    cluster.start(*cluster.nodes[1:])
    _reconcile(cluster)
    watching.wait_until_silent(*OF_A_BROKER_CLUSTER)
    assert _sizes(cluster) == dict.fromkeys(QUEUES, 3)


def test_the_leader_s_node_is_killed_during_stores(cluster, suite, watching):
    leader = cluster.node(cluster.queues()[INSTANCE_STORED].leader)
    stored = _store(suite, leader.kill)
    _require_indexed_once(suite, stored)
    watching.wait_until_fired(*OF_A_BROKER_CLUSTER)
    assert cluster.queues()[INSTANCE_STORED].leader != leader.node


@pytest.mark.timeout(1800)
def test_the_last_but_one_node_is_killed_during_stores(cluster, suite, watching):
    """Without a majority the broker takes nothing; what is stored meanwhile waits in the spool."""
    running = [node for node in cluster.nodes if node.running()]
    assert len(running) == 2
    stored = _store(suite, running[0].kill)
    cluster.revive()
    _restart_what_has_no_leader(cluster, suite, stored)
    _require_indexed_once(suite, stored)
    watching.wait_until_silent(*OF_A_BROKER_CLUSTER, seconds=REVIVAL_SECONDS)
    assert _sizes(cluster) == dict.fromkeys(QUEUES, 3)
    assert sorted(cluster.roles(INSTANCE_STORED).values()) == ["follower", "follower", "leader"]
