"""Three RabbitMQ nodes that form a cluster on this machine, with HAProxy in front of them.

Each runs with the settings that deploy/k8s gives to the production broker, as far as the
installed release knows them.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from typing_extensions import override

from draw_shared.messaging.queue_depths import QUEUES
from support.replicas import running_haproxy
from support.service_finder import ROOT
from support.waiting import wait_until
from tools.local_rabbitmq import LocalRabbitmq, program
from tools.processes import free_port

NAMES = ("one", "two", "three")
SECRET = "of these three nodes"
BROKER = ROOT / "deploy" / "k8s" / "overlays" / "production" / "broker.yaml"
STUCK_SECONDS = 30
RECONCILIATION = "quorum_queue.continuous_membership_reconciliation.enabled"
FRONT = """
defaults
    mode tcp
    retries 20
    option redispatch
    timeout connect 1s
    timeout client 10m
    timeout server 10m
    default-server check inter 200ms rise 1 fall 1 on-marked-down shutdown-sessions
"""


def production_settings() -> dict[str, str]:
    """Return what deploy/k8s adds to the production broker's configuration."""
    [manifest] = yaml.safe_load_all(BROKER.read_text(encoding="utf-8"))
    lines = manifest["spec"]["rabbitmq"]["additionalConfig"].splitlines()
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}


def known_settings() -> dict[str, str]:
    """Return those of them that the installed release knows; it refuses to start with others."""
    [schema] = (
        program().resolve().parents[1].glob("plugins/rabbit-[0-9]*/priv/schema/rabbit.schema")
    )
    known = re.findall(r'^\{mapping, "([^"]+)"', schema.read_text(encoding="utf-8"), re.MULTILINE)
    return {key: value for key, value in production_settings().items() if key in known}


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a queue is."""

    leader: str
    members: frozenset[str]


class Member(LocalRabbitmq):
    """One node of the cluster; it joins the first one when it starts."""

    def __init__(self, folder: Path, name: str, port_mapper_port: int):
        super().__init__(folder / name)
        self.node = f"{name}@localhost"
        self.port = free_port()
        self.metrics_port = free_port()
        self._ports["epmd"] = port_mapper_port
        self.folder.mkdir(parents=True)
        for kept in (self._password_file, self.folder / ".erlang.cookie"):
            kept.write_text(SECRET.replace(" ", "-"), encoding="utf-8")
            kept.chmod(0o400)

    @override
    def _plugins(self) -> list[str]:
        return ["rabbitmq_prometheus"]

    @override
    def _settings(self) -> list[str]:
        ours = [
            *super()._settings(),
            "prometheus.tcp.ip = 127.0.0.1",
            f"prometheus.tcp.port = {self.metrics_port}",
            "cluster_formation.peer_discovery_backend = classic_config",
            # Each once: RabbitMQ 4 does not start with a node that is named twice.
            *(
                f"cluster_formation.classic_config.nodes.{number} = {node}"
                for number, node in enumerate(sorted({f"{NAMES[0]}@localhost", self.node}), 1)
            ),
        ]
        taken = {line.split(" = ")[0] for line in ours}
        return ours + [f"{k} = {v}" for k, v in known_settings().items() if k not in taken]

    @override
    def _started_port_mapper(self) -> None:
        """The cluster has one, by which the nodes find each other."""

    def answers(self) -> bool:
        """Return whether it takes connections."""
        return self._answers()

    def command(self, *words: str) -> str:
        """Return what a command of RabbitMQ says that an operator gives on this node."""
        name, *arguments = words
        done = subprocess.run(
            [program().with_name(name), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class BrokerCluster:
    """The three nodes, of which at first none runs."""

    def __init__(self, folder: Path, port_mapper_port: int):
        self.nodes = [Member(folder, name, port_mapper_port) for name in NAMES]
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where the services reach whichever node runs."""
        return self.nodes[0].url().replace(f":{self.nodes[0].port}/", f":{self.port}/")

    def node(self, name: str) -> Member:
        """Return a node by its name among Erlang's."""
        [found] = [node for node in self.nodes if node.node == name]
        return found

    def queues(self) -> dict[str, Membership]:
        """Return where each queue is that the suite shares, by its name."""
        asked = next(node for node in self.nodes if node.running())
        words = ("--quiet", "--formatter", "json", "name", "leader", "members")
        listed = json.loads(asked.command("rabbitmqctl", "list_queues", *words))
        return {
            queue["name"]: Membership(queue["leader"], frozenset(queue["members"]))
            for queue in listed
            if queue["name"] in QUEUES
        }

    def roles(self, queue: str) -> dict[str, str]:
        """Return the role of each member of a queue, or why it has none, by its node."""
        asked = next(node for node in self.nodes if node.running())
        words = ("--quiet", "--formatter", "json", "quorum_status", queue)
        listed = json.loads(asked.command("rabbitmq-queues", *words))
        return {member["Node Name"]: member["Raft State"] for member in listed}

    def start(self, *nodes: Member) -> None:
        """Start one after the other: of two that join at once one may be left waiting."""
        for node in nodes:
            node.start()

    def revive(self) -> None:
        """Start what does not run and restart what is stuck, as a person would, until all answer.

        RabbitMQ 3.10 gives up when the node that waited for a majority and those that bring it
        begin in the same moment (`incompatible_feature_flags`, `badmap`), and stays there. So each
        is given another time, and more of it each time.
        """
        begun = dict.fromkeys(NAMES, time.monotonic())
        patience = {name: STUCK_SECONDS * (1 + number / 2) for number, name in enumerate(NAMES)}

        def all_answer() -> bool:
            waiting = [node for node in self.nodes if not node.answers()]
            for node in waiting:
                name = node.folder.name
                if time.monotonic() - begun[name] > patience[name]:
                    node.kill()
                    patience[name] *= 1.5
                if not node.running():
                    node.begin()
                    begun[name] = time.monotonic()
            return not waiting

        assert wait_until(all_answer, 300)


@contextmanager
def broker_cluster(folder: Path) -> Iterator[BrokerCluster]:
    """Yield a cluster of which nothing runs yet but its front; all of it ends with the block."""
    port_mapper_port = free_port()
    cluster = BrokerCluster(folder, port_mapper_port)
    mapper = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(port_mapper_port)])
    with ExitStack() as stack:
        stack.callback(mapper.wait)
        stack.callback(mapper.kill)
        servers = "".join(
            f"    server {node.folder.name} 127.0.0.1:{node.port}{' backup' if number else ''}\n"
            for number, node in enumerate(cluster.nodes)
        )
        front = f"{FRONT}listen broker\n    bind 127.0.0.1:{cluster.port}\n{servers}"
        stack.enter_context(running_haproxy(folder, front, cluster.port))
        for node in cluster.nodes:
            stack.callback(node.kill)
        yield cluster
