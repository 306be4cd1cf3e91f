"""The manifests render, validate and keep the rules that docs/operations.md promises.

Rendered by kustomize itself, validated against the schemas of two Kubernetes versions.
Not covered: a cluster that runs them; schemas of the operators' own kinds are not shipped
with any package, so those are held to the points that matter here.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from draw_shared.contracts.server_config import REFERENCE
from draw_shared.messaging import topology
from draw_shared.messaging.rights import RIGHTS
from support.broker_cluster import production_settings
from tools.service_process import SERVICES
from tools.settings_page import HANDLER_FOLDERS

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("single-node", "production")
VERSIONS = ("1.32", "1.37")
OPERATORS = {
    "Cluster",
    "Permission",
    "PodMonitor",
    "PrometheusRule",
    "RabbitmqCluster",
    "ScaledObject",
    "ServiceMonitor",
    "TriggerAuthentication",
    "User",
}
OURS = [f"draw-{service.name}" for service in SERVICES]
PREFERRED_STOP_SECONDS = 10

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def rendered(overlay):
    """Return every object of an overlay."""
    program = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [program, "kustomize", K8S / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return [part for part in yaml.safe_load_all(done.stdout) if part]


def of_kind(overlay, kind):
    """Return the objects of a kind by name."""
    return {o["metadata"]["name"]: o for o in rendered(overlay) if o["kind"] == kind}


def pods(overlay):
    """Return the template of every pod by the name of what makes it."""
    return {
        f"{o['kind']}/{o['metadata']['name']}": o["spec"]["template"]
        for o in rendered(overlay)
        if o["kind"] in {"Deployment", "StatefulSet", "Job"}
    }


def chosen(policy, labels):
    """Return whether a NetworkPolicy holds for a pod with these labels."""
    selector = policy["spec"]["podSelector"]
    same = selector.get("matchLabels", {})
    among = selector.get("matchExpressions", [])
    return all(labels.get(k) == v for k, v in same.items()) and all(
        labels.get(e["key"]) in e["values"] for e in among
    )


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(overlay, version):
    for part in rendered(overlay):
        if part["kind"] not in OPERATORS:
            kubernetes_validate.validate(part, version, strict=True)


@overlays
def test_every_service_is_deployed_in_one_namespace(overlay):
    assert list(of_kind(overlay, "Deployment")) == sorted(OURS)
    namespaces = {o["metadata"].get("namespace") for o in rendered(overlay)}
    assert namespaces == {None, "draw-dicom"}


@overlays
def test_pods_are_restricted_and_the_namespace_says_so(overlay):
    [namespace] = of_kind(overlay, "Namespace").values()
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, template in pods(overlay).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        for volume in pod["volumes"]:
            allowed = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
            assert set(volume) - {"name"} <= allowed, name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["readOnlyRootFilesystem"] is True, name


@overlays
def test_pods_say_what_they_need(overlay):
    for name, template in pods(overlay).items():
        for container in template["spec"]["containers"]:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), name
            assert "memory" in resources["limits"], name


@overlays
@pytest.mark.parametrize("name", OURS)
def test_services_are_probed_and_drained(overlay, name):
    pod = of_kind(overlay, "Deployment")[name]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    for probe, path in (("startup", "livez"), ("readiness", "readyz"), ("liveness", "livez")):
        asked = container[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": f"/{path}", "port": "http"}
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container["readinessProbe"]
    assert wait > readiness["periodSeconds"] * readiness["failureThreshold"]
    environment = {e["name"]: e.get("value") for e in container["env"]}
    drain = int(environment["DRAW_STOP_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= wait + drain + PREFERRED_STOP_SECONDS
    [service] = [s for s in SERVICES if f"draw-{s.name}" == name]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports["http"] == int(environment[service.http_variable]) == service.http_port


@overlays
def test_the_receiver_s_address_keeps_the_peer_s(overlay):
    service = of_kind(overlay, "Service")["draw-scp"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert service["externalTrafficPolicy"] == "Local"
    assert {p["port"]: p["targetPort"] for p in service["ports"]} == {
        REFERENCE.network.port: "dicom",
        REFERENCE.network.tls.port: "dicom-tls",
    }
    pod = of_kind(overlay, "Deployment")["draw-scp"]["spec"]["template"]["spec"]
    listens = {p["name"]: p["containerPort"] for p in pod["containers"][0]["ports"]}
    assert (listens["dicom"], listens["dicom-tls"]) == (11112, 2762)


@overlays
def test_objects_lie_on_one_volume_that_every_service_mounts(overlay):
    claims = of_kind(overlay, "PersistentVolumeClaim")
    expected = {"production": ["ReadWriteMany"], "single-node": ["ReadWriteOnce"]}[overlay]
    assert set(claims) == {"draw-storage", "draw-handlers"}
    assert all(claim["spec"]["accessModes"] == expected for claim in claims.values())
    settings = of_kind(overlay, "ConfigMap")["draw-settings"]["data"]
    for name in of_kind(overlay, "Deployment"):
        assert _claims(overlay, name)["draw-storage"] == {
            "mountPath": settings["DRAW_STORAGE_ROOT"]
        }


@overlays
def test_folders_of_other_programs_are_the_worker_s_alone(overlay):
    writes = {"draw-handlers": {"mountPath": HANDLER_FOLDERS}}
    for name in of_kind(overlay, "Deployment"):
        others = {k: v for k, v in _claims(overlay, name).items() if k != "draw-storage"}
        assert others == (writes if name == "draw-qr-worker" else {})


def _claims(overlay, name):
    """Return how a service mounts which claims."""
    pod = of_kind(overlay, "Deployment")[name]["spec"]["template"]["spec"]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    return {
        claims[mount["name"]]: {k: v for k, v in mount.items() if k != "name"}
        for mount in pod["containers"][0]["volumeMounts"]
        if mount["name"] in claims
    }


@overlays
def test_secrets_are_named_and_not_contained(overlay):
    assert of_kind(overlay, "Secret") == {}
    settings = of_kind(overlay, "ConfigMap")["draw-settings"]["data"]
    for template in pods(overlay).values():
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                name = variable["name"]
                assert not name.endswith(("PASSWORD", "_URL", "TOKEN")), name
    for name, deployment in of_kind(overlay, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        files = _secret_files(pod)
        mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
        for kind in ("DATABASE", "BROKER"):
            path = Path(settings[f"DRAW_{kind}_URL_FILE"])
            assert str(path.parent) == mounts["secrets"]
            assert path.name in files
        keys = {"transaction_keys": ("draw-transaction-keys", "keys")}
        assert files == (keys if name in {"draw-indexer", "draw-dicomweb", "draw-api"} else {}) | {
            "database_url": (f"{name}-database", "uri"),
            "broker_url": (f"{name}-broker", "connection_string"),
        }


def _secret_files(pod):
    """Return which key of which Secret each file is."""
    [volume] = [v for v in pod["volumes"] if "projected" in v]
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }


@overlays
def test_only_the_migration_is_the_owner_and_knows_the_first_password(overlay):
    [job] = of_kind(overlay, "Job").values()
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    files = _secret_files(pod)
    told = {entry["name"]: Path(entry["value"]).name for entry in container["env"]}
    assert told["DRAW_ADMIN_PASSWORD_FILE"] in files
    for name in OURS:
        own = name.removeprefix("draw-").replace("-", "_")
        assert files[told[f"DRAW_{own.upper()}_DATABASE_URL_FILE"]] == (f"{name}-database", "uri")
    if overlay == "production":
        # The Secret of the owner whom CloudNativePG makes, who is no superuser.
        assert files["database_url"] == ("draw-database-app", "uri")
        assert "DRAW_DATABASE_ADMIN_URL_FILE" not in told
    else:
        assert files["database_url"] == ("draw-database-owner", "uri")
        assert files[told["DRAW_DATABASE_ADMIN_URL_FILE"]] == ("draw-database-app", "uri")


def test_the_operators_make_a_role_and_a_user_for_each_service():
    roles = of_kind("production", "Cluster")["draw-database"]["spec"]["managed"]["roles"]
    for name in OURS:
        service = name.removeprefix("draw-")
        [role] = [r for r in roles if r["passwordSecret"]["name"] == f"{name}-database"]
        assert (role["name"], role["login"]) == (f"draw_{service.replace('-', '_')}", True)
        assert not role.get("superuser")
        user = of_kind("production", "User")[name]["spec"]
        assert user["importCredentialsSecret"] == {"name": f"{name}-broker"}
        permission = of_kind("production", "Permission")[name]["spec"]
        assert permission["userReference"] == {"name": name}
        assert permission["permissions"] == asdict(RIGHTS[service])


def test_the_script_makes_every_secret_that_a_manifest_names(tmp_path):
    """There is no cluster: `kubectl` writes down what it is told."""
    folder = tmp_path / "deploy"
    shutil.copytree(K8S, folder / "k8s", ignore=shutil.ignore_patterns("secrets"))
    shutil.copytree(K8S.parent / "rabbitmq", folder / "rabbitmq")
    shutil.copy(K8S.parent / "make-secrets.sh", folder)
    told = tmp_path / "told"
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f'#!/bin/sh\n[ "$3" = get ] && exit 1\necho "$*" | tr "\\n" " " >>{told}\n')
    kubectl.chmod(0o755)
    path = {"PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    subprocess.run([folder / "k8s" / "make-secrets.sh", "single-node"], env=path, check=True)
    made = dict(
        re.findall(r"create secret generic (\S+) (.*?)(?=-n draw-dicom|$)", told.read_text())
    )
    named = {
        (source["secret"].get("name") or source["secret"]["secretName"], item["key"])
        for template in pods("single-node").values()
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {"sources": [volume]})["sources"]
        if "secret" in source
        for item in source["secret"].get("items", ())
    }
    assert {name for name, _ in named} | {"draw-broker-definitions"} == set(made)
    for name, key in named:
        assert f"--from-literal={key}=" in made[name], (name, key)


@overlays
def test_the_schema_is_brought_up_to_date_by_a_job(overlay):
    [job] = of_kind(overlay, "Job").values()
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["draw-admin", "migrate"]
    assert "draw-api" in container["image"]


@overlays
def test_nothing_is_reached_that_no_policy_allows(overlay):
    policies = of_kind(overlay, "NetworkPolicy")
    deny = policies["default-deny"]["spec"]
    assert deny["podSelector"] == {}
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(deny)
    for name, policy in policies.items():
        for rule in policy["spec"].get("ingress", ()):
            # Only DICOM may come from anywhere.
            assert "from" in rule or name == "dicom-from-peers", name


@overlays
@pytest.mark.parametrize("name", OURS)
def test_every_service_reaches_what_it_needs(overlay, name):
    labels = of_kind(overlay, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
    held = {n for n, p in of_kind(overlay, "NetworkPolicy").items() if chosen(p, labels)}
    needed = {"default-deny", "allow-dns", "allow-database-and-broker", "metrics-from-monitoring"}
    needed |= {
        "draw-scp": {"dicom-from-peers", "dicom-to-nodes"},
        "draw-qr-worker": {"dicom-to-nodes"},
        "draw-dicomweb": {"web-from-ingress"},
        "draw-api": {"web-from-ingress"},
        "draw-indexer": set(),
    }[name]
    assert held == needed


def test_database_and_broker_are_chosen_by_their_policies():
    for backing in ("database", "broker"):
        labels = {"draw.dicom/backing": backing}
        template = pods("single-node")[f"StatefulSet/draw-{backing}"]["metadata"]["labels"]
        assert labels.items() <= template.items()
        policy = of_kind("production", "NetworkPolicy")[f"{backing}-from-services"]
        assert chosen(policy, labels)
    broker = of_kind("production", "RabbitmqCluster")["draw-broker"]["spec"]
    override = broker["override"]["statefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert override == {"draw.dicom/backing": "broker"}
    database = of_kind("production", "Cluster")["draw-database"]["spec"]
    assert database["inheritedMetadata"]["labels"] == {"draw.dicom/backing": "database"}


def test_production_survives_the_loss_of_any_one_node():
    budgets = of_kind("production", "PodDisruptionBudget")
    deployments = of_kind("production", "Deployment")
    assert sorted(budgets) == sorted(OURS)
    for name, budget in budgets.items():
        assert budget["spec"]["maxUnavailable"] == 1
        selector = budget["spec"]["selector"]["matchLabels"]
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
    broker = of_kind("production", "RabbitmqCluster")["draw-broker"]["spec"]
    assert broker["replicas"] == 3
    settings = production_settings()
    assert settings["default_queue_type"] == "quorum"
    assert settings["quorum_queue.initial_cluster_size"] == "3"
    reconciliation = "quorum_queue.continuous_membership_reconciliation"
    assert settings[f"{reconciliation}.enabled"] == "true"
    assert settings[f"{reconciliation}.target_group_size"] == "3"
    database = of_kind("production", "Cluster")["draw-database"]["spec"]
    assert database["instances"] == 3
    assert database["postgresql"]["synchronous"]["number"] == 1


def test_a_single_node_can_be_drained():
    assert of_kind("single-node", "PodDisruptionBudget") == {}


def test_what_sends_and_receives_scales_on_cpu_and_nothing_fights_about_the_number_of_replicas():
    autoscalers = of_kind("production", "HorizontalPodAutoscaler")
    assert set(autoscalers) == {"draw-scp", "draw-dicomweb"}
    for name, autoscaler in autoscalers.items():
        assert autoscaler["spec"]["scaleTargetRef"]["name"] == name
        assert [m["resource"]["name"] for m in autoscaler["spec"]["metrics"]] == ["cpu"]
        assert autoscaler["spec"]["minReplicas"] >= 2
    scaled = {o["spec"]["scaleTargetRef"]["name"] for o in _scaled().values()} | set(autoscalers)
    for name, deployment in of_kind("production", "Deployment").items():
        assert ("replicas" in deployment["spec"]) is (name not in scaled)


def _scaled():
    return of_kind("production", "ScaledObject")


def test_indexers_and_workers_scale_on_the_depth_of_their_queues():
    queues = {"draw-indexer": topology.INSTANCE_STORED, "draw-qr-worker": topology.JOB_READY}
    assert set(_scaled()) == set(queues)
    authentications = of_kind("production", "TriggerAuthentication")
    for name, scaled in _scaled().items():
        [trigger] = [t for t in scaled["spec"]["triggers"] if t["type"] == "rabbitmq"]
        assert trigger["metadata"]["queueName"] == queues[name]
        assert trigger["metadata"]["mode"] == "QueueLength"
        for any_trigger in scaled["spec"]["triggers"]:
            assert any_trigger["authenticationRef"]["name"] in authentications


def test_prometheus_finds_every_service():
    [monitor] = of_kind("production", "ServiceMonitor").values()
    selector = monitor["spec"]["selector"]["matchLabels"]
    found = {
        o["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        for o in of_kind("production", "Service").values()
        if selector.items() <= o["metadata"]["labels"].items()
    }
    assert found == set(OURS)


def test_prometheus_counts_the_members_of_the_broker_s_queues_as_compose_does():
    [monitor] = of_kind("production", "PodMonitor").values()
    broker = of_kind("production", "RabbitmqCluster")["draw-broker"]["spec"]
    pods_labels = broker["override"]["statefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pods_labels.items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    compose = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text("utf-8"))
    [job] = [j for j in compose["scrape_configs"] if j["job_name"] == "rabbitmq-members"]
    assert (endpoint["path"], endpoint["params"]) == (job["metrics_path"], job["params"])
    named = {rule["targetLabel"]: rule for rule in endpoint["relabelings"]}
    assert named["job"]["replacement"] == job["job_name"]


def test_rules_and_dashboards_are_those_of_deploy_monitoring():
    [rules] = of_kind("production", "PrometheusRule").values()
    alerts = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yml").read_text(encoding="utf-8"))
    assert rules["spec"] == alerts
    shown = {
        name: text
        for config in of_kind("production", "ConfigMap").values()
        if config["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, text in config["data"].items()
    }
    folder = ROOT / "deploy/monitoring/grafana/dashboards"
    assert shown == {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*.json")}
