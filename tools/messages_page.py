"""Generates `docs/messages.md`: all messages, exchanges and queues, from the code."""

from pathlib import Path
from typing import Any, Final

from draw_shared.contracts.control import ControlV1
from draw_shared.contracts.envelope import Message
from draw_shared.contracts.instance import (
    InstanceStoredV1,
    InstanceStoredV2,
    SeriesStableV1,
    StudyStableV1,
)
from draw_shared.contracts.job import JobReadyV1
from draw_shared.contracts.transaction import TransactionRecord, TransactionsRecordedV1
from draw_shared.messaging import topology
from draw_shared.messaging.topology import Collecting, Exchange, WorkQueue

PAGE: Final = Path("docs/messages.md")

MESSAGES: Final[tuple[type[Message], ...]] = (
    InstanceStoredV1,
    InstanceStoredV2,
    SeriesStableV1,
    StudyStableV1,
    TransactionsRecordedV1,
    JobReadyV1,
    ControlV1,
)
"""All versions of all messages that are written or still read."""

INTRODUCTION: Final = """# Messages

What travels over RabbitMQ, good enough to write a consumer in another language. Generated from
the contracts and the topology; do not edit by hand.

A body is one JSON object in UTF-8, on one line. Those of `instance.stored` may hold several, a line
each (`application/x-ndjson`): what is stored in a burst travels together, up to 50 at a time, and a
consumer acknowledges all of them. The routing key names message and version. A field is never
removed or re-typed inside a version; unknown fields are to be ignored. Messages carry identifiers,
no patient data; where an object lies is sealed, because folders may be named by Patient ID. They
are persistent, published with confirms, and may arrive more than once and in any order: `event_id`
of `instance.stored` is the same for the same object.
"""


def pages() -> dict[Path, str]:
    """Return the text of the page by its path in the tree."""
    parts = [INTRODUCTION, "## Messages\n"]
    parts += [_message(message) for message in MESSAGES]
    parts.append(f"### `records` of {TransactionsRecordedV1.routing_key}\n")
    parts.append(_fields(TransactionRecord.model_json_schema()))
    parts += ["## Exchanges and queues\n", *_topology()]
    return {PAGE: "\n".join(parts)}


def _message(message: type[Message]) -> str:
    words = " ".join((message.__doc__ or "").split())
    return f"### {message.routing_key}\n\n{words}\n\n{_fields(message.model_json_schema())}"


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = ["| field | type | |", "| --- | --- | --- |"]
    for name, described in schema["properties"].items():
        notes = [described["description"]] if "description" in described else []
        if name not in required:
            notes.append("may be absent")
        lines.append(f"| `{name}` | {_type(described)} | {'; '.join(notes)} |")
    return "\n".join(lines) + "\n"


def _type(described: dict[str, Any]) -> str:
    if "anyOf" in described:
        return " or ".join(_type(one) for one in described["anyOf"])
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    if described.get("type") == "array":
        return f"list of {_type(described['items'])}"
    words = str(described.get("type", "any"))
    if "format" in described:
        words += f", {described['format']}"
    if "pattern" in described:
        words += f", `{described['pattern'].replace('|', chr(92) + '|')}`"
    return words


def _topology() -> list[str]:
    lines = ["| name | kind | |", "| --- | --- | --- |"]
    for part in topology.TOPOLOGY:
        match part:
            case Exchange():
                note = f"what it cannot route goes to `{part.alternate}`" if part.alternate else ""
                lines.append(f"| `{part.name}` | {part.kind} exchange | {note} |")
            case Collecting():
                note = f"keeps everything from `{part.source}`" if part.source else ""
                lines.append(f"| `{part.name}` | queue | {note} |")
            case WorkQueue():
                lines.append(f"| `{part.name}` | work queue | {_work(part)} |")
    return [*lines, ""]


def _work(work: WorkQueue) -> str:
    rungs = ", ".join(f"{seconds:g}" for seconds in work.ladder_seconds)
    bound = ", ".join(f"`{pattern}`" for pattern in work.binds)
    again = f"tried again after {rungs} s (`{work.name}.retry.N`)"
    return f"bound to {bound} of `{topology.EVENTS}`; {again}, then `{work.dead}`"
