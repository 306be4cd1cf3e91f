"""Debian's Prometheus scrapes the running suite with the rules and dashboards that are shipped.

Every alert is made to fire by a real fault, and clears after its repair
(tests/support/alert_faults.py), those of a broker of several nodes in
tests/faults/test_broker_cluster.py. The rules are the shipped ones but for windows, waiting times
and a few limits, which are shorter; what the shipped times do is in
tests/architecture/test_alerts.py, on made-up series. Not covered: Grafana itself.
"""

import re
from contextlib import ExitStack

import pytest

from support.alert_faults import OF_A_BROKER_CLUSTER, TOGETHER, watching
from support.prometheus import (
    LIMITS,
    PENDING,
    WINDOW,
    expressions,
    names,
    names_of_alerts,
    rules,
)
from support.steady_stores import SteadyStores
from support.waiting import wait_until
from tools.service_process import SERVICES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.needs("prometheus"),
]

# A series that is there only when there is something to show.
OF_RULES = {rule["record"] for rule in rules() if "record" in rule}
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with watching(tmp_path_factory.mktemp("watched")) as made:
        yield made


@pytest.fixture(scope="module")
def shown(watched):
    """The names of all metrics that the services show."""
    found = set()
    for process in watched.suite.services.values():
        for line in process.answer("/metrics")[1].splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                found.add(name)
                if kind == "histogram":
                    found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return found


def test_every_service_is_scraped(watched):
    def up():
        return {s["metric"]["job"] for s in watched.prometheus.query("up == 1")}

    expected = {f"draw-{service.name}" for service in SERVICES}
    wait_until(lambda: up() == expected, 60)
    assert up() == expected


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_rules_and_dashboards_name_only_what_is_shown(watched, shown, expression):
    used = names(expression)
    assert used - shown - OF_RULES - OF_PROMETHEUS == set()
    watched.prometheus.query(expression.replace("$__rate_interval", "1m"))


def test_a_name_that_nothing_shows_would_be_found():
    expression = 'sum by (le, job) (rate(draw_scp_nonsense_total{operation="c-store"}[5m])) > up'
    assert names(expression) == {"draw_scp_nonsense_total", "up"}


def test_what_is_stored_is_counted(watched):
    stores = SteadyStores(watched.suite.dicom_port, 100, ("127.0.0.2",))
    stores.enough.set()
    stores.start()
    stores.wait(30)
    assert stores.failures == []
    sums = (
        "sum(draw_scp_objects_stored_total)",
        'sum(draw_indexer_objects_total{outcome="indexed"})',
        "sum(draw_scp_announced_total)",
        "sum(draw_indexer_lag_seconds_count)",
    )

    def counted():
        return [[float(s["value"][1]) for s in watched.prometheus.query(one)] for one in sums]

    wait_until(lambda: counted() == [[100.0]] * 4, 60)
    assert counted() == [[100.0]] * 4


def test_every_alert_has_a_fault_that_makes_it_fire():
    broken = {alert for faults in TOGETHER for fault in faults for alert in fault.alerts}
    assert broken.isdisjoint(OF_A_BROKER_CLUSTER)
    assert broken.union(OF_A_BROKER_CLUSTER) == names_of_alerts()


@pytest.mark.parametrize(
    "faults", TOGETHER, ids=lambda faults: "-and-".join(fault.__name__ for fault in faults)
)
def test_faults_fire_their_alerts_which_clear_after_the_repair(watched, faults):
    alerts = {alert for fault in faults for alert in fault.alerts}
    watched.prometheus.wait_until_silent(*alerts)
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault(watched))
        watched.prometheus.wait_until_fired(*alerts)
    watched.prometheus.wait_until_silent(*alerts)
    assert watched.store() == 0


def test_nothing_fires_in_the_end(watched):
    watched.prometheus.wait_until_silent(*names_of_alerts())


def test_the_rules_of_this_test_are_the_shipped_ones_but_for_their_times(watched):
    groups = watched.prometheus.get("/api/v1/rules")["groups"]
    loaded = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert loaded.keys() == {rule.get("alert") or rule["record"] for rule in rules()}
    for rule in rules():
        found = loaded[rule.get("alert") or rule["record"]]
        expression = re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rule["expr"])
        for shipped, here in LIMITS.get(found["name"], {}).items():
            expression = expression.replace(shipped, here)
        assert "".join(found["query"].split()) == "".join(expression.split())
        if "alert" in rule:
            assert found["duration"] == (float(PENDING.removesuffix("s")) if "for" in rule else 0)
            assert (found["labels"], found["annotations"]) == (rule["labels"], rule["annotations"])
