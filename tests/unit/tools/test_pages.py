"""The generated pages say what they promise; that they are current is checked elsewhere.

Not covered: how Grafana draws a dashboard.
"""

import json
import re

import pytest
import yaml

from tools import alert_rules, dashboards, log_events_page, metrics_page
from tools.log_events_page import calls, event_name


def test_every_line_of_the_log_has_an_event_name():
    nameless = [
        f"{service}: line {call.lineno}" for service, call in calls() if event_name(call) is None
    ]
    assert nameless == []


def test_the_page_of_log_events_has_all_levels_and_fields_of_an_event():
    [closed] = [e for e in log_events_page.events() if e.name == "association.closed"]
    assert closed.levels == {"info"}
    assert closed.services == {"scp"}
    assert {"association_id", "calling_ae"} <= closed.fields


@pytest.fixture(scope="module")
def metrics():
    """Every metric by its name."""
    return {metric.name: metric for metric in metrics_page.shown()}


def test_metrics_have_a_prefix_base_units_and_words(metrics):
    for metric in metrics.values():
        service = "scp|indexer|qr_worker|dicomweb|api|suite|service"
        assert re.fullmatch(rf"draw_({service})_[a-z_]+", metric.name)
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|gb)(_|$)", metric.name)
        assert metric.words
        assert (metric.kind == "counter") is metric.name.endswith("_total")


def test_no_metric_has_a_label_without_bound_or_from_a_patient(metrics):
    bounded = {
        *("kind", "outcome", "operation", "status", "source", "reason", "state", "step", "table"),
        *("queue", "level", "method", "route", "service", "replica", "version", "node", "of"),
        # Of rules and destinations a document has at most 200 and 100.
        "rule",
        "destination",
        "target",
        "mode",
    }
    assert {label for metric in metrics.values() for label in metric.labels} <= bounded


def test_a_labelled_metric_is_shown_with_its_labels_before_it_was_counted(metrics):
    assert metrics["draw_scp_rejections_total"].labels == ("source", "reason")
    assert metrics["draw_suite_queue_messages"].labels == ("queue",)
    assert metrics["draw_suite_queue_messages"].services == ["api"]


def test_the_operator_s_rules_are_those_of_prometheus():
    [text] = alert_rules.pages().values()
    rules = yaml.safe_load((alert_rules.ROOT / alert_rules.RULES).read_text(encoding="utf-8"))
    assert yaml.safe_load(text)["spec"] == rules


@pytest.mark.parametrize("path", dashboards.pages(), ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    document = json.loads(dashboards.pages()[path])
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), panel["title"]


def test_dashboards_have_names_of_their_own():
    documents = [json.loads(text) for text in dashboards.pages().values()]
    assert len({d["uid"] for d in documents}) == len({d["title"] for d in documents}) == 6
