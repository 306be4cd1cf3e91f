"""The Compose file says what docs/operations.md promises of one machine.

Not covered: that an engine runs it.
"""

import importlib.resources
import json
import re
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from tools.service_process import SERVICES
from tools.settings_page import COMPOSE, HANDLER_FOLDERS, settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yml").read_text(encoding="utf-8")
SUITE = yaml.safe_load(TEXT)
OURS = [service.name for service in SERVICES]

ours = pytest.mark.parametrize("name", OURS)


def test_it_is_what_the_compose_specification_allows():
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(SUITE, schema)


def test_everything_is_there():
    backing = {"haproxy", "postgres", "rabbitmq", "prometheus", "grafana", "migrate"}
    assert set(SUITE["services"]) == {*OURS, *backing}
    assert SUITE["services"]["rabbitmq"]["image"].startswith("rabbitmq:4")
    assert SUITE["services"]["postgres"]["image"].startswith("postgres:17")


@ours
def test_services_may_do_nothing_they_do_not_need(name):
    service = SUITE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "user" not in service, "the image says which user it is"


@ours
def test_services_wait_for_the_schema_and_the_broker_and_are_given_time_to_drain(name):
    service = SUITE["services"][name]
    assert service["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "rabbitmq": {"condition": "service_healthy"},
    }
    assert service["stop_grace_period"] == "40s"
    assert "volumes" in service


def test_the_start_is_ordered_by_health():
    services = SUITE["services"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["haproxy"]["depends_on"]["scp"]["condition"] == "service_healthy"
    for name in ("postgres", "rabbitmq"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_every_secret_comes_from_a_file_and_is_made_by_the_script(tmp_path):
    shutil.copy(DEPLOY / "make-secrets.sh", tmp_path)
    shutil.copytree(DEPLOY / "rabbitmq", tmp_path / "rabbitmq")
    script = tmp_path / "make-secrets.sh"
    subprocess.run([script], check=True, capture_output=True)
    first = {p.name: p.read_text() for p in (tmp_path / "secrets").iterdir()}
    subprocess.run([script], check=True, capture_output=True)
    assert {p.name: p.read_text() for p in (tmp_path / "secrets").iterdir()} == first
    assert {Path(secret["file"]).name for secret in SUITE["secrets"].values()} <= set(first)
    _require_users_of_their_own(first)
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    for service in SUITE["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|_URL", name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/")
                assert value.rpartition("/")[2] in service["secrets"]


def _require_users_of_their_own(files):
    held = json.loads(files["rabbitmq_definitions.json"])
    passwords = {user["name"]: user["password"] for user in held["users"]}
    assert passwords.pop("draw") == files["broker_password"].strip()
    assert held["permissions"] == json.loads((DEPLOY / "rabbitmq/permissions.json").read_text())
    roles = {"draw_owner": urlsplit(files["database_owner_url"]).password}
    for name in OURS:
        file, own = name.replace("-", "_"), f"draw_{name.replace('-', '_')}"
        database, broker = (
            urlsplit(files[f"{file}_{kind}_url"]) for kind in ("database", "broker")
        )
        assert (broker.username, broker.password.strip()) == (own, passwords.pop(own))
        assert database.username == own
        roles[own] = database.password
    assert passwords == {}
    assert len({*roles.values(), files["postgres_password"].strip()}) == 1 + len(roles)


@ours
def test_a_service_gets_its_own_secrets_and_no_other(name):
    own = name.replace("-", "_")
    service = SUITE["services"][name]
    keys = ["transaction_keys"] if name in {"indexer", "dicomweb", "api"} else []
    assert service["secrets"] == [f"{own}_database_url", f"{own}_broker_url", *keys]
    assert service["environment"]["DRAW_DATABASE_URL_FILE"].endswith(f"/{own}_database_url")
    assert service["environment"]["DRAW_BROKER_URL_FILE"].endswith(f"/{own}_broker_url")
    assert "DRAW_ADMIN_PASSWORD_FILE" not in service["environment"]


def test_only_the_migration_is_the_owner_and_knows_the_first_password():
    for name, service in SUITE["services"].items():
        held = set(service.get("secrets", ()) if name != "rabbitmq" else ())
        special = {"database_admin_url", "database_owner_url", "admin_password"}
        assert held & special == (special if name == "migrate" else set()), name
    environment = SUITE["services"]["migrate"]["environment"]
    known = {setting.variable for setting in settings() if "draw-admin" in setting.services}
    assert {name.removesuffix("_FILE") for name in environment} <= known | {"DRAW_STORAGE_ROOT"}


def test_only_dicom_is_published_beyond_this_machine():
    published = {
        name: port
        for name, service in SUITE["services"].items()
        for port in service.get("ports", ())
    }
    assert set(published) == {"haproxy", "dicomweb", "api", "prometheus", "grafana"}
    for name in ("dicomweb", "api", "prometheus", "grafana"):
        assert ":-127.0.0.1:" in published[name]


def test_haproxy_reaches_the_receivers_only_where_they_believe_it():
    scp = SUITE["services"]["scp"]
    shared = set(scp["networks"]) & set(SUITE["services"]["haproxy"]["networks"])
    assert shared == {"dicom"}
    members = {n for n, s in SUITE["services"].items() if "dicom" in s["networks"]}
    assert members == {"haproxy", "scp"}
    [subnet] = SUITE["networks"]["dicom"]["ipam"]["config"]
    [trusted] = json.loads(scp["environment"]["DRAW_SCP_TRUSTED_PROXIES"])
    assert ip_network(subnet["subnet"]) == ip_network(trusted)


def test_database_and_broker_cannot_be_reached_from_outside_or_reach_out():
    for name in ("postgres", "rabbitmq", "migrate"):
        for network in SUITE["services"][name]["networks"]:
            assert SUITE["networks"][network]["internal"] is True


def test_prometheus_scrapes_every_replica_by_the_service_s_name_and_port():
    config = yaml.safe_load((DEPLOY / "monitoring/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for service in SERVICES:
        [found] = jobs[f"draw-{service.name}"]["dns_sd_configs"]
        assert found["names"] == [service.name]
        assert found["port"] == service.http_port
        common = set(SUITE["services"][service.name]["networks"])
        assert common & set(SUITE["services"]["prometheus"]["networks"])


def test_folders_of_other_programs_are_the_worker_s_alone():
    mounted = {
        name: volume
        for name, service in SUITE["services"].items()
        for volume in service.get("volumes", ())
        if HANDLER_FOLDERS in volume
    }
    assert mounted == {"qr-worker": f"${{SUITE_HANDLER_FOLDERS:-handlers}}:{HANDLER_FOLDERS}"}
    assert "handlers" in SUITE["volumes"]


def test_what_may_be_changed_is_in_the_example_with_its_default():
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT))
    assert used == {name: default for name, default, _ in COMPOSE}


@pytest.mark.needs("haproxy")
def test_haproxy_takes_its_configuration():
    path = DEPLOY / "haproxy" / "haproxy.cfg"
    done = subprocess.run(
        ["haproxy", "-c", "-f", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("promtool")
def test_prometheus_takes_its_configuration():
    path = DEPLOY / "monitoring" / "prometheus.yml"
    done = subprocess.run(
        ["promtool", "check", "config", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
