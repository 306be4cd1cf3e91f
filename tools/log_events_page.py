"""`docs/log-events.md`, written from the calls that log in the source of services and shared."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = Path("docs/log-events.md")
LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
}
EVENT: Final = re.compile(r"^[a-z][a-z_-]*\.[a-z][a-z_]*$")
LOGGERS: Final = {"log", "bound"}

BEGINNING: Final = (
    "# Log events\n\n"
    "A service writes one JSON object per line to standard output. `event` is one of the names"
    " below; every line also has `time` (UTC), `level`, `service` and `replica`, and, where it"
    " belongs to one, `association_id`, `event_id` or `job_id`. Fields hold identifiers, sizes,"
    " durations and states: no patient data. Names do not change within a major version.\n\n"
    "`library.message` passes on what a library logs, with `library` and `message`.\n\n"
    "This page is written by `make docs`.\n\n"
    "| event | level | services | fields |\n"
    "| --- | --- | --- | --- |\n"
)


@dataclass(slots=True)
class LogEvent:
    """One event name with the levels, fields and services of its calls."""

    name: str
    levels: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def events() -> list[LogEvent]:
    """Return every event that the source can log, by name."""
    found: dict[str, LogEvent] = {}
    for service, call in calls():
        name = event_name(call)
        if name is None:
            continue
        event = found.setdefault(name, LogEvent(name))
        event.levels.add(LEVELS[_method(call)])
        event.services.add(service)
        event.fields |= {word.arg for word in call.keywords if word.arg}
    return sorted(found.values(), key=lambda event: event.name)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every logger call with the service to which its source belongs."""
    for source in sorted([ROOT / "shared" / "src", *ROOT.glob("services/*/src")]):
        service = source.parent.name
        for module in sorted(source.rglob("*.py")):
            tree = ast.parse(module.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and _logs(node):
                    yield service, node


def event_name(call: ast.Call) -> str | None:
    """Return the event name of a logging call, or None if it does not have our form."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value if EVENT.match(first.value) else None
    return None


def pages() -> dict[Path, str]:
    """Return the page by its path in the tree."""
    rows = (
        f"| `{event.name}` | {', '.join(sorted(event.levels))}"
        f" | {', '.join(sorted(event.services))}"
        f" | {', '.join(f'`{name}`' for name in sorted(event.fields))} |\n"
        for event in events()
    )
    return {PAGE: BEGINNING + "".join(rows)}


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _logs(call: ast.Call) -> bool:
    if _method(call) not in LEVELS or not isinstance(call.func, ast.Attribute):
        return False
    logger = call.func.value
    name = logger.attr if isinstance(logger, ast.Attribute) else getattr(logger, "id", "")
    return name.strip("_") in LOGGERS
