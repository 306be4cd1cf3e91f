"""What PostgreSQL really does for each statement: its plans, as `auto_explain` tells them.

Every statement of a connection made in `watching` comes back with its plan, also those that
foreign keys cause. So what is judged is what a service sends, in the way in which it does.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

from support import service_finder

LARGE = (
    "patients", "studies", "series", "instances", "instance_conflicts", "changes",
    "file_deletions", "stated_persons", "study_words",
    "tombstones", "transactions", "jobs", "job_attempts", "retrieve_items", "queries",
    "query_results", "webhook_deliveries", "batch_query_lines", "batch_query_answers",
)  # fmt: skip
"""Tables that grow with what is received, fetched or done."""

SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    # Of parameters nothing is needed, and some are long.
    "auto_explain.log_parameter_max_length": "0",
}


@dataclass(frozen=True)
class Plan:
    """How one statement was performed."""

    statement: str
    scanned: frozenset[str]
    """Large tables that were read from one end to the other."""
    rows_read: int
    """Rows of large tables that were looked at, kept or not."""
    root: dict[str, Any]


def explain_all(server_url: str, database: str) -> None:
    """Have each new connection to a database explain what it does."""
    for name, value in SETTINGS.items():
        service_finder.administer(
            server_url, f"""ALTER DATABASE "{database}" SET {name} = '{value}'"""
        )


@contextmanager
def watching(*, prepare_after: int | None = None) -> Iterator[list[Plan]]:
    """Yield a list to which every statement of connections made meanwhile adds its plan.

    With `prepare_after`, statements are prepared as early as that, so that soon PostgreSQL
    makes its choice between plans for their values and one for all values.
    """
    plans: list[Plan] = []

    def listen(dbapi_connection: Any, _record: object) -> None:
        driver = dbapi_connection
        if prepare_after is not None:
            driver.prepare_threshold = prepare_after
        driver.add_notice_handler(lambda notice: _take(plans, notice.message_primary or ""))

    event.listen(Engine, "connect", listen)
    try:
        yield plans
    finally:
        event.remove(Engine, "connect", listen)


def _take(plans: list[Plan], message: str) -> None:
    _, found, document = message.partition("plan:\n")
    if found:
        plans.append(plan_of(json.loads(document)))


def plan_of(explained: dict[str, Any]) -> Plan:
    """Return what matters of an explained statement."""
    scanned: set[str] = set()
    rows = 0.0
    waiting = [explained["Plan"]]
    for node in waiting:
        waiting += node.get("Plans", ())
        table = _table(node)
        if table not in LARGE or not node.get("Actual Loops"):
            continue
        read = node["Actual Rows"] + sum(node.get(f"Rows Removed by {why}", 0) for why in REMOVED)
        rows += read * node["Actual Loops"]
        if node["Node Type"] == "Seq Scan" and read * node["Actual Loops"] > FEW:
            scanned.add(table)
    return Plan(explained.get("Query Text", ""), frozenset(scanned), round(rows), explained["Plan"])


FEW = 2000
"""A table, or a month of the log, that is still so small may be read as a whole."""
REMOVED = ("Filter", "Index Recheck", "Join Filter")


def _table(node: dict[str, Any]) -> str:
    # One names only its index, and the heap scan above it counts; the other reads nothing.
    if node["Node Type"] in {"Bitmap Index Scan", "ModifyTable"}:
        return ""
    name = str(node.get("Relation Name", ""))
    return "transactions" if name.startswith("transactions") else name


def normal(statement: str) -> str:
    """Return a statement in which neither white space nor the names of parameters count."""
    return " ".join(re.sub(r"(?<![:\w]):\w+|%\(\w+\)s|\$\d+", "?", statement).split())
