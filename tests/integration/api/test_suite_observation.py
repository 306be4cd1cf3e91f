"""What the metrics of the suite say of destinations, from rows as workers leave them.

Not covered: alerts on them (tests/architecture/test_alerts.py, tests/e2e/test_monitoring.py).
"""

import pytest
from prometheus_client import CollectorRegistry

from draw_api.adapters.suite_metrics import SuiteMetrics
from draw_api.adapters.suite_observation import SuiteObservation
from support.delivery_rows import DeliveryRows

pytestmark = pytest.mark.integration


@pytest.fixture
def rows(database):
    return DeliveryRows(database)


@pytest.fixture
def observed(database):
    """Look, and return a function from the name and labels of a metric to its value."""

    def look():
        observation = SuiteObservation(database)
        registry = CollectorRegistry()
        registry.register(SuiteMetrics(lambda: observation.seen, dict, lambda: None))
        observation.look()
        return lambda name, **labels: registry.get_sample_value(f"draw_suite_{name}", labels)

    return look


def folder(name):
    return {"kind": "folder", "name": name, "path": f"/var/lib/{name}"}


def group(name, *members, mode="failover"):
    return {"kind": "group", "name": name, "mode": mode, "members": members}


def test_without_rules_there_are_no_destinations(observed):
    value = observed()
    assert value("database_up") == 1
    assert value("oldest_delivery_seconds", destination="a") is None


def test_each_destination_shows_what_waits_and_how_long(rows, observed):
    rows.put(folder("a"), folder("b"))
    for age in (100, 50):
        rows.deliver("a", age_seconds=age)
    rows.deliver("a", age_seconds=30, state="waiting", failures=2, error="full")
    rows.deliver("a", age_seconds=40, state="waiting", error="the node's window is closed")
    rows.deliver("gone", age_seconds=10, error="there is no such remote node")
    value = observed()
    states = ("pending", "waiting", "running")
    assert [value("deliveries", destination="a", state=s) for s in states] == [2, 2, 0]
    assert [value("deliveries", destination="b", state=s) for s in states] == [0, 0, 0]
    oldest = {name: value("oldest_delivery_seconds", destination=name) for name in ("a", "b")}
    assert oldest == {"a": pytest.approx(100, abs=20), "b": 0}
    tried = "oldest_failing_delivery_seconds"
    assert value(tried, destination="a") == pytest.approx(30, abs=9)
    assert value(tried, destination="gone") == pytest.approx(10, abs=9)


def test_a_destination_that_is_held_shows_since_when(rows, observed):
    rows.put(folder("a"), folder("b"), folder("c"))
    rows.hold("a", "paused", 100)
    rows.hold("b", "active", 100)
    value = observed()
    held = "destination_held_seconds"
    assert value(held, destination="a", mode="paused") == pytest.approx(100, abs=20)
    assert value(held, destination="b", mode="active") is None
    assert value(held, destination="c", mode="active") is None


def test_a_group_shows_whether_another_than_its_first_member_is_in_force(rows, observed):
    names = ("first", "second", "third")
    rows.put(*map(folder, names), group("g", *names), group("any", *names, mode="any"))
    force = "failover_in_force"
    assert observed()(force, destination="g", target="first") == 0
    for name in ("g", "any"):
        rows.hold(name, "active")
    rows.execute("UPDATE destination_states SET in_force = 'second'")
    value = observed()
    assert value(force, destination="g", target="second") == 1
    assert value(force, destination="g", target="first") is None
    assert value(force, destination="any", target="second") is None
    # A later document has no such member any more.
    rows.put(folder("first"), folder("third"), group("g", "first", "third"))
    assert observed()(force, destination="g", target="first") == 0


def test_failures_in_a_row_and_the_last_success_are_shown(rows, observed):
    rows.put(folder("a"), folder("b"))
    rows.hold("a", "active")
    rows.execute(
        "UPDATE destination_states SET failures = 3, last_success_at = now() - interval '100 s'"
    )
    value = observed()
    assert value("destination_failures", destination="a") == 3
    assert value("destination_failures", destination="b") == 0
    last = "destination_last_success_seconds"
    assert value(last, destination="a") == pytest.approx(100, abs=20)
    assert value(last, destination="b") is None


@pytest.mark.parametrize("document", ['{"destinations": 3}', '{"destinations": [3]}', "{}"])
def test_rules_of_a_later_release_hide_nothing_else(rows, observed, document):
    rows.execute(
        "INSERT INTO routing_documents (version, document, created_by)"
        " VALUES (1, CAST(:document AS jsonb), 'a later release')",
        document=document,
    )
    rows.deliver("a")
    value = observed()
    assert value("database_up") == 1
    assert value("deliveries", destination="a", state="pending") == 1
