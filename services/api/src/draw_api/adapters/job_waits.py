"""Why a job has not begun: what PostgreSQL knows of the job, its node and the workers.

The worker decides when a job runs. Here its decision is only explained, so the order of the
reasons is that of the worker's rules.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping

from draw_api.models.jobs import JobWait
from draw_shared.contracts.replicas import ENDED, REPLICA_TIMEOUT_SECONDS

Row = RowMapping | Mapping[str, Any]
MAX_AHEAD: Final = 100
WAITS: Final = ("scheduled", "queued", "waiting")
TESTS: Final = ("echo", "probe")
"""Jobs of these kinds also run against nodes that are paused or have failed."""

FACTS: Final = f"""
    CASE WHEN j.state IN ('scheduled', 'queued', 'waiting')
        OR j.kind = 'batch' AND j.finished_at IS NULL THEN jsonb_build_object(
        'paused', n.paused, 'active', n.active, 'node_window', n.windows <> '[]',
        'job_window', j.parameters ? 'windows',
        'node_failures', n.circuit->'failures',
        'open_until', CASE WHEN (n.circuit->>'open_until')::timestamptz > now()
            THEN greatest((n.circuit->>'open_until')::timestamptz, j.not_before) END,
        'tries', CASE WHEN j.state = 'waiting' THEN (SELECT count(*) FROM job_attempts a
            WHERE a.job_id = j.id AND a.outcome IN ('retry', 'refused')) ELSE 0 END,
        'worker', EXISTS (SELECT FROM service_replicas w WHERE w.service = 'qr-worker'
            AND w.state <> '{ENDED}'
            AND w.heartbeat_at > now() - interval '{REPLICA_TIMEOUT_SECONDS} seconds'),
        'busy', j.kind <> 'batch' AND n.max_associations <= (SELECT count(*) FROM jobs r
            WHERE r.node_id = j.node_id AND r.state IN ('running', 'cancelling')
                AND r.lease_until IS NOT NULL),
        'ahead', CASE WHEN j.state = 'queued' THEN (SELECT count(*) FROM (
            SELECT FROM jobs q WHERE q.state = 'queued' AND q.node_id = j.node_id
                AND q.kind <> 'batch'
                AND (q.priority, q.created_at, q.id) < (j.priority, j.created_at, j.id)
            ORDER BY q.priority DESC, q.created_at DESC, q.id DESC
            LIMIT {MAX_AHEAD}) AS counted) ELSE 0 END) END AS wait_facts
"""  # noqa: S608 - our own numbers
"""One more column of a query in which `j` is the job and `n` its node."""


def wait_of(row: Row, children: Mapping[str, int] | None = None) -> JobWait | None:
    """Return why the job in a row with `FACTS` has not begun; None if it has.

    A batch waits while none of its children runs.
    """
    facts: Mapping[str, Any] | None = row["wait_facts"]
    if facts is None:
        return None
    if row["kind"] == "batch":
        return _wait_of_batch(row, facts, children or {})
    if row["state"] == "scheduled":
        return JobWait(reason="start_time", until=row["not_before"])
    return _wait_for_node(row, facts) or _wait_for_turn(row, facts)


def _wait_of_batch(
    row: Row, facts: Mapping[str, Any], children: Mapping[str, int]
) -> JobWait | None:
    if not any(children.get(state) for state in WAITS):
        return None
    if children.get("running") or children.get("cancelling"):
        return None
    return _wait_for_node(row, facts)


def _wait_for_node(row: Row, facts: Mapping[str, Any]) -> JobWait | None:
    if not facts["worker"]:
        return JobWait(reason="no_worker")
    if row["kind"] in TESTS or row["node_id"] is None:
        return None
    if not facts["active"]:
        return JobWait(reason="node_switched_off")
    if facts["paused"]:
        return JobWait(reason="node_paused")
    if facts["open_until"]:
        return JobWait(
            reason="node_failing",
            until=datetime.fromisoformat(facts["open_until"]),
            failures=facts["node_failures"] or 0,
        )
    return None


def _wait_for_turn(row: Row, facts: Mapping[str, Any]) -> JobWait:
    if row["state"] == "waiting":
        if facts["tries"]:
            return JobWait(reason="retry", until=row["not_before"], failures=facts["tries"])
        window = "node_window" if facts["node_window"] else "job_window"
        return JobWait(reason=window, until=row["not_before"])
    if facts["busy"] or facts["ahead"]:
        return JobWait(reason="others", ahead=facts["ahead"])
    return JobWait(reason="soon")
