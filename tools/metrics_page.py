"""`docs/metrics.md`, written from the registries of the five services as they are built."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from pydantic import SecretStr

from draw_api.adapters.suite_metrics import SuiteMetrics
from draw_api.adapters.suite_observation import ObservedDestination, SuiteState
from draw_api.app import Api
from draw_api.settings import ApiSettings
from draw_dicomweb.app import DicomWeb
from draw_dicomweb.settings import DicomwebSettings
from draw_indexer.app import Indexer
from draw_indexer.settings import IndexerSettings
from draw_qr_worker.app import Worker
from draw_qr_worker.settings import QrWorkerSettings
from draw_scp.app import Scp
from draw_scp.settings import ScpSettings
from draw_shared.storage.space import DiskRoom

PAGE: Final = Path("docs/metrics.md")
PREFIX: Final = "draw_"

BEGINNING: Final = (
    "# Metrics\n\n"
    "Each service shows them at `/metrics` of its HTTP port, with `process_*` and `python_*` of"
    " the Prometheus client beside them. Units are seconds and bytes; labels take few values, and"
    " none comes from a patient or a peer. Counters begin anew with a process: use `rate()`. What"
    " begins with `draw_suite_` is the suite as a whole: every API replica shows the same, so"
    " take `max()`.\n\n"
    "Alerts are in [operations.md](operations.md#alerts), dashboards in"
    " `deploy/monitoring/grafana`.\n\n"
    "This page is written by `make docs`.\n"
)


@dataclass(slots=True)
class Shown:
    """One metric and the services that export it."""

    name: str
    kind: str
    words: str
    labels: Sequence[str]
    services: list[str] = field(default_factory=list)


def shown() -> list[Shown]:
    """Return every metric of the suite, those of several services first."""
    found: dict[str, Shown] = {}
    with _registries() as registries:
        for service, registry in registries.items():
            for metric in _families(registry, service):
                name = f"{metric.name}_total" if metric.type == "counter" else metric.name
                name = f"{name}_info" if metric.type == "info" else name
                labels = _labels(registry, metric)
                entry = Shown(name, metric.type, metric.documentation, labels)
                found.setdefault(name, entry).services.append(service)
    return sorted(found.values(), key=lambda m: (len(m.services) == 1, m.services, m.name))


def pages() -> dict[Path, str]:
    """Return the page by its path in the tree."""
    parts = [BEGINNING]
    title = ""
    for metric in shown():
        heading = "Every service" if len(metric.services) > 1 else f"Only {metric.services[0]}"
        if heading != title:
            parts += [""] if title else []
            title = heading
            parts.append(f"## {title}\n\n| metric | kind | labels | meaning |")
            parts.append("| --- | --- | --- | --- |")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        words = metric.words
        if 1 < len(metric.services) < len(_SERVICES):
            words += f" ({', '.join(metric.services)})"
        parts.append(f"| `{metric.name}` | {metric.kind} | {labels} | {words} |")
    return {PAGE: "\n".join(parts) + "\n"}


_SERVICES: Final[dict[str, tuple[Any, Any]]] = {
    "scp": (Scp, ScpSettings),
    "indexer": (Indexer, IndexerSettings),
    "qr-worker": (Worker, QrWorkerSettings),
    "dicomweb": (DicomWeb, DicomwebSettings),
    "api": (Api, ApiSettings),
}


@contextmanager
def _registries() -> Iterator[dict[str, CollectorRegistry]]:
    """Yield the registry of each service, built as at its start but without starting anything."""
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none"),
            "broker_url": SecretStr("amqp://127.0.0.1:1/"),
            "storage_root": Path(folder),
        }
        yield {
            # The services keep their registries private; only this page needs them.
            service: build(settings(**given))._registry  # noqa: SLF001
            for service, (build, settings) in _SERVICES.items()
        }


def _families(registry: CollectorRegistry, service: str) -> list[Metric]:
    families = {family.name: family for family in registry.collect()}
    if service == "api":
        # The suite-wide metrics are exported only after a first reading of the database.
        whole = SuiteMetrics(
            lambda: SuiteState(
                {("scp", "ready"): 1},
                {"queued": 0},
                {"queued": 0.0},
                {"PACS": False},
                destinations={"a": ObservedDestination(mode="paused", first="b")}
                | {"b": ObservedDestination(last_success_seconds=0.0)},
            ),
            lambda: {"indexer.dead": 0},
            lambda: DiskRoom(1, 1, 1, 1),
        )
        families |= {family.name: family for family in whole.collect()}
    return [family for name, family in families.items() if name.startswith(PREFIX)]


def _labels(registry: CollectorRegistry, metric: Metric) -> tuple[str, ...]:
    """Return the labels of a metric, even before its first count."""
    collector = registry._names_to_collectors.get(metric.name)  # noqa: SLF001 - nothing public says it
    declared = getattr(collector, "_labelnames", None)
    if declared:
        return tuple(declared)
    used = {name for sample in metric.samples for name in sample.labels}
    return tuple(sorted(used - {"le"}))
