"""Debian's Prometheus with the suite's own configuration and rules, made quick for tests."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml

from support.service_finder import ROOT
from support.waiting import wait_until
from tools.processes import free_port

MONITORING = ROOT / "deploy" / "monitoring"
WINDOW = "6s"
"""Instead of the minutes over which rules look at rates."""
PENDING = "1s"
"""Instead of the minutes for which something must be wrong."""
LIMITS = {
    "AnnouncementsDelayed": {"> 60": "> 2"},
    "TransactionLogDelayed": {"> 60": "> 2"},
    "IndexBehind": {"> 1000": "> 5", "> 60": "> 2"},
    "JobsWaiting": {"> 600": "> 3"},
    "RoutingStandsStill": {"> 300": "> 30"},
    "DeliveryWaitsLong": {"> 3600": "> 3"},
    "DestinationPaused": {"> 14400": "> 2"},
}
"""Seconds and numbers that a test cannot wait for, by alert: shipped and here."""

KEYWORDS = {"group_left", "group_right"}


def names(expression: str) -> set[str]:
    """Return the names of the metrics in an expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression.replace("{{", ""))
    bare = re.sub(r"\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w)(?!\s*\()", bare)
    # All our names have underscores; PromQL's other words have none.
    return {name for name in found if "_" in name or name == "up"} - KEYWORDS


def rules() -> list[dict]:
    """Return every rule that is shipped."""
    text = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def names_of_alerts() -> set[str]:
    """Return the name of every alert that is shipped."""
    return {rule["alert"] for rule in rules() if "alert" in rule}


def quick(rule: dict) -> dict:
    """Return a rule that says the same of a shorter time."""
    changed = rule | {"expr": re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rule["expr"])}
    if "for" in rule:
        changed["for"] = PENDING
    for slow, fast in LIMITS.get(rule.get("alert"), {}).items():
        assert changed["expr"].count(slow) == 1
        changed["expr"] = changed["expr"].replace(slow, fast)
    return changed


def expressions() -> list[str]:
    """Return every expression of rules and dashboards."""
    found = [rule["expr"] for rule in rules()]
    for path in sorted((MONITORING / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            found += [target["expr"] for target in panel["targets"]]
    return found


class Prometheus:
    """A running server."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters):
        """Return the data of an answer."""
        asked = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict]:
        """Return what an expression finds now."""
        return self.get("/api/v1/query", query=expression)["result"]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        alerts = self.get("/api/v1/alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def wait_until_fired(self, *alerts: str, seconds: float = 60) -> None:
        """Return once each of these has fired since the call."""
        missing = set(alerts)

        def none_left() -> bool:
            missing.difference_update(self.firing())
            return not missing

        wait_until(none_left, seconds)
        assert missing == set(), f"did not fire: {sorted(missing)}"

    def wait_until_silent(self, *alerts: str, seconds: float = 60) -> None:
        """Return once none of these fires."""
        left: set[str] = set()

        def none_left() -> bool:
            left.clear()
            left.update(set(alerts) & self.firing())
            return not left

        wait_until(none_left, seconds)
        assert left == set(), f"did not clear: {sorted(left)}"


@contextmanager
def prometheus(folder: Path, targets: dict[str, list[int]]):
    """Yield a Prometheus that scrapes these ports instead of the names in Compose, by job."""
    folder.mkdir(exist_ok=True)
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    jobs = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    assert {job["job_name"] for job in jobs} == set(targets)
    for job in jobs:
        job.pop("dns_sd_configs", None)
        addresses = [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]
        job["static_configs"] = [{"targets": addresses}]
    config["scrape_configs"] = jobs
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shipped = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    for group in shipped["groups"]:
        group["rules"] = [quick(rule) for rule in group["rules"]]
    (folder / "alerts.yml").write_text(yaml.safe_dump(shipped), encoding="utf-8")
    port = free_port()
    server = Prometheus(port)
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: process.poll() is not None or _ready(server), 60)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait(15)


def _ready(server: Prometheus) -> bool:
    try:
        return bool(server.query("vector(1)"))
    except OSError:
        return False
