"""Every alert fires when it should, is silent when it should, and clears.

Prometheus's own rule tests on made-up series, with the times that are shipped.
tests/e2e/test_monitoring.py makes every alert fire and clear by real faults of the running
suite, in shorter times, and holds all names to what it really shows.
Not covered: the words of summaries, except that they can be rendered.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "monitoring" / "alerts.yml"
GROUPS = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
ALERTS = {r["alert"]: r for group in GROUPS for r in group["rules"] if "alert" in r}

pytestmark = pytest.mark.needs("promtool")


def turning(bad, good, minutes=60):
    """Return a gauge that is `bad` for an hour and then `good` for an hour."""
    return f"{bad}x{minutes} {good}x{minutes}"


def counting(per_minute, later=0, minutes=60):
    """Return a counter that grows by `per_minute` for an hour, then by `later`."""
    reached = per_minute * minutes
    return f"0+{per_minute}x{minutes} {reached}+{later}x{minutes}"


@dataclass
class Case:
    """Series in which something is wrong for an hour and then right for an hour."""

    series: dict[str, str]
    number: int = 1
    """How many alerts fire."""
    not_yet: str = "0m"
    fires: str = "45m"
    clears: str = "119m"


def single(name, bad, good, labels="", **more):
    """Return the case of one gauge."""
    return Case({f"{name}{{{labels}}}": turning(bad, good)}, **more)


CONNECTIONS = "draw_service_database_connections"
STORES = 'draw_scp_operations_total{operation="c-store",status='
FINDS = 'draw_scp_operations_total{operation="c-find",status='
REQUESTS = 'draw_api_requests_total{method="GET",route="/",status='
JOBS = 'draw_qr_worker_executions_total{kind="retrieve",outcome='
ENDED = 'draw_qr_worker_deliveries_ended_total{destination="a"'
HOUR = "x60"

MEMBER = 'rabbitmq_detailed_raft_%s{job="rabbitmq-members",queue="%s",vhost="/",instance="%s"}'


def members(name, queue, first):
    """Return the series of a queue that is on node a, and on b and c from a time on."""
    return {
        MEMBER % (name, queue, "a"): turning(7, 7),
        **{MEMBER % (name, queue, node): first for node in ("b", "c")},
    }


CASES = {
    "ServiceDown": Case(
        {
            'up{job="draw-scp",instance="a"}': turning(0, 1),
            'up{job="draw-scp",instance="b"}': turning(1, 1),
            'up{job="haproxy",instance="c"}': turning(0, 0),
        }
    ),
    "NoReceiver": Case(
        {
            "draw_suite_database_up": turning(1, 1),
            'draw_suite_replicas{service="scp",state="ready"}': f"_{HOUR} 1{HOUR}",
            'draw_suite_replicas{service="api",state="ready"}': turning(1, 1),
        }
    ),
    "ListenerNotAsConfigured": single("draw_scp_listener_as_configured", 0, 1, 'instance="a"'),
    "ReplicaGone": single(
        "draw_suite_replicas", 1, 0, 'service="indexer",state="gone"', not_yet="0m"
    ),
    "ConfigurationNotEverywhere": Case(
        {
            "draw_suite_config_version": turning(5, 5),
            'draw_service_config_version{instance="a"}': turning(4, 5),
            'draw_service_config_version{instance="b"}': turning(5, 5),
        }
    ),
    "HttpErrors": Case(
        {f'{REQUESTS}"500"}}': counting(10), f'{REQUESTS}"200"}}': counting(90, 90)}
    ),
    "UnexpectedFailures": Case({"draw_api_unexpected_failures_total": f"0+1{HOUR} 60+0{HOUR}"}),
    "DatabaseDown": single("draw_suite_database_up", 0, 1),
    "DatabaseConnectionsUsedUp": Case(
        {
            f'{CONNECTIONS}{{job="draw-scp",instance="a",state="in_use"}}': turning(10, 3),
            f'{CONNECTIONS}{{job="draw-scp",instance="a",state="idle"}}': turning(0, 7),
            'draw_service_database_connection_limit{job="draw-scp",instance="a"}': turning(10, 10),
        }
    ),
    "BrokerDown": single("draw_suite_broker_up", 0, 1),
    "QuorumQueueMembersMissing": Case(
        {
            **{f'up{{job="rabbitmq-members",instance="{n}"}}': turning(1, 1) for n in "abc"},
            **members("log_commit_index", "indexer.transactions", f"_{HOUR} 7{HOUR}"),
            **members("commit_index", "indexer.instance-stored", f"_{HOUR} 7{HOUR}"),
            **members("commit_index", "indexer.dead", turning(7, 7)),
        },
        number=2,
    ),
    "DeadLetters": Case(
        {
            'draw_suite_queue_messages{queue="indexer.dead"}': turning(3, 0),
            'draw_suite_queue_messages{queue="draw.unroutable"}': turning(1, 0),
            'draw_suite_queue_messages{queue="indexer.instance-stored"}': turning(9, 9),
        },
        number=2,
    ),
    "StoresFailing": Case(
        {f'{STORES}"0xA700"}}': counting(5), f'{STORES}"0x0000"}}': counting(95, 95)}
    ),
    "StoresSlow": Case(
        {
            'draw_scp_commit_seconds_bucket{le="0.5"}': counting(0, 100),
            'draw_scp_commit_seconds_bucket{le="2.5"}': counting(100, 100),
            'draw_scp_commit_seconds_bucket{le="+Inf"}': counting(100, 100),
        }
    ),
    "AssociationsRejected": Case(
        {'draw_scp_rejections_total{source="service user",reason="no reason"}': counting(30)}
    ),
    "AnnouncementsDelayed": Case(
        {
            'draw_scp_outbox_oldest_seconds{instance="a"}': turning(300, 0),
            'draw_scp_outbox_oldest_seconds{instance="b"}': turning(1, 1),
        }
    ),
    "TransactionLogDelayed": single("draw_scp_transaction_segments", 500, 1, 'instance="a"'),
    "TransactionLogNotAsSealed": single(
        "draw_indexer_transaction_findings_total", 1, 0, 'kind="transactions.cut"'
    ),
    "IndexBehind": single(
        "draw_suite_queue_messages", 50000, 10, 'queue="indexer.instance-stored"'
    ),
    "RoutingStandsStill": Case(
        {
            'draw_indexer_routing_blocked{instance="a"}': turning(0, 0),
            'draw_indexer_routing_blocked{instance="b"}': turning(1, 0),
            'draw_indexer_routing_lag_seconds{instance="a"}': turning(3600, 0),
        }
    ),
    "RoutingUndecided": Case(
        {'draw_indexer_routing_undecided_total{rule="a rule"}': f"0+1{HOUR} 60+0x90"},
        clears="149m",
    ),
    "FilesWithoutRow": Case(
        {
            'draw_indexer_files_without_row{instance="a"}': turning(40, 0),
            'draw_indexer_files_without_row{instance="b"}': turning(0, 0),
        }
    ),
    "ObjectsNotIndexable": Case(
        {'draw_indexer_read_failures_total{reason="NotThere"}': counting(1)}
    ),
    "ConflictingObjects": Case(
        {'draw_indexer_objects_total{outcome="conflict"}': f"0+1{HOUR} 60+0x90"}, clears="149m"
    ),
    "StorageNearlyFull": Case(
        {
            "draw_suite_disk_free_inodes": turning(5, 50),
            "draw_suite_disk_inodes": turning(100, 100),
            "draw_scp_storage_used_bytes": turning(10, 10),
            "draw_scp_storage_quota_bytes": turning(100, 100),
        }
    ),
    "StorageFull": Case(
        {
            "draw_suite_disk_free_bytes": turning(50, 50),
            "draw_suite_disk_size_bytes": turning(100, 100),
            "draw_scp_storage_refusing": turning(1, 0),
            "draw_scp_storage_used_bytes": turning(10, 10),
            "draw_scp_storage_quota_bytes": turning(100, 100),
        }
    ),
    "StorageFillsSoon": Case(
        {
            "draw_scp_storage_used_bytes": turning(50, 50, 120),
            "draw_scp_storage_quota_bytes": turning(100, 100, 120),
            "draw_scp_storage_free_bytes": turning(900, 900, 120),
            "draw_suite_received_bytes_per_day": turning(10, 1, 120),
        },
        fires="110m",
        clears="130m",
    ),
    "QueriesFailing": Case(
        {f'{FINDS}"0xA700"}}': counting(10), f'{FINDS}"0x0000"}}': counting(90, 90)}
    ),
    "QueriesSlow": Case(
        {
            'draw_scp_find_seconds_bucket{le="1"}': counting(0, 100),
            'draw_scp_find_seconds_bucket{le="10"}': counting(100, 100),
            'draw_scp_find_seconds_bucket{le="+Inf"}': counting(100, 100),
        }
    ),
    "JobsWaiting": single("draw_suite_oldest_job_seconds", 3600, 0, 'state="queued"'),
    "JobsFailing": Case({f'{JOBS}"failed"}}': counting(1), f'{JOBS}"complete"}}': counting(9, 9)}),
    "StandingQueryFails": single("draw_suite_standing_queries_failing", 1, 0, 'instance="a"'),
    "DeliveryWaitsLong": Case(
        {
            'draw_suite_oldest_failing_delivery_seconds{destination="tried"}': turning(4000, 0),
            'draw_suite_oldest_delivery_seconds{destination="tried"}': turning(5000, 0),
            'draw_suite_oldest_delivery_seconds{destination="by night"}': turning(40_000, 0),
            'draw_suite_oldest_delivery_seconds{destination="for days"}': turning(90_000, 0),
            'draw_suite_oldest_delivery_seconds{destination="held"}': turning(90_000, 90_000),
            'draw_suite_destination_held_seconds{destination="held",mode="paused"}': turning(9, 9),
        },
        number=2,
    ),
    "DeliveriesFail": Case(
        {
            f'{ENDED},outcome="failed"}}': f"0+1{HOUR} 60+0x90",
            f'{ENDED},outcome="delivered"}}': counting(9, 9, 150),
        },
        clears="149m",
    ),
    "FailoverInForce": Case(
        {
            'draw_suite_failover_in_force{destination="a",target="second"}': f"1{HOUR} _{HOUR}",
            'draw_suite_failover_in_force{destination="a",target="first"}': f"_{HOUR} 0{HOUR}",
            'draw_suite_failover_in_force{destination="b",target="first"}': turning(0, 0),
        }
    ),
    "DestinationPaused": Case(
        {
            'draw_suite_destination_held_seconds{destination="a",mode="paused"}': (
                f"15000{HOUR} _{HOUR}"
            ),
            'draw_suite_destination_held_seconds{destination="b",mode="draining"}': turning(60, 60),
        }
    ),
    "NodeUnreachable": Case(
        {
            'draw_suite_node_circuit_open{node="PACS"}': turning(1, 0),
            'draw_suite_node_circuit_open{node="CT"}': turning(0, 0),
        }
    ),
}


def _firing(name, at, number):
    labels = f'{{alertname="{name}"}}'
    return {
        "expr": f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": [{"labels": labels, "value": number}] if number else [],
    }


def test_every_alert_has_a_case():
    assert set(CASES) == set(ALERTS)


def test_every_alert_fires_in_time_and_clears(tmp_path):
    tests = []
    for name, case in CASES.items():
        series = [{"series": s.replace("{}", ""), "values": v} for s, v in case.series.items()]
        expected = [
            _firing(name, case.not_yet, 0),
            _firing(name, case.fires, case.number),
            _firing(name, case.clears, 0),
        ]
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": expected})
    file = tmp_path / "alerts_test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}),
        encoding="utf-8",
    )
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("nodes", "members"), [("a", "a"), ("abcde", "abc")])
def test_queues_need_no_more_members_than_there_are_nodes_and_never_more_than_three(
    tmp_path, nodes, members
):
    series = {f'up{{job="rabbitmq-members",instance="{node}"}}': "1x60" for node in nodes}
    series |= {MEMBER % ("commit_index", "indexer.dead", node): "7x60" for node in members}
    test = {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in series.items()],
        "promql_expr_test": [_firing("QuorumQueueMembersMissing", "45m", 0)],
    }
    file = tmp_path / "members_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_index_is_also_behind_when_objects_take_long_to_arrive_in_it(tmp_path):
    bucket = 'draw_indexer_lag_seconds_bucket{le="%s"}'
    series = {bucket % "10": counting(0, 9), bucket % "300": counting(9, 9)}
    series[bucket % "+Inf"] = counting(9, 9)
    file = tmp_path / "behind_test.yml"
    test = {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in series.items()],
        "promql_expr_test": [_firing("IndexBehind", "45m", 1), _firing("IndexBehind", "119m", 0)],
    }
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    page, _, heading = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert heading in {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_runbook_belongs_to_an_alert():
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = text.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^### (.+)$", section, re.MULTILINE)) == set(ALERTS)
