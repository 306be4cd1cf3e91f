"""`docs/settings.md` and `deploy/.env.example`, written from the Settings classes."""

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from draw_api.settings import ApiSettings, MigrationSettings
from draw_dicomweb.settings import DicomwebSettings
from draw_indexer.settings import IndexerSettings
from draw_qr_worker.settings import QrWorkerSettings
from draw_scp.settings import ScpSettings
from draw_shared.runtime.settings import ServiceSettings, variable_name

SERVICES: Final[tuple[type[ServiceSettings], ...]] = (
    ScpSettings,
    IndexerSettings,
    QrWorkerSettings,
    DicomwebSettings,
    ApiSettings,
    MigrationSettings,
)

BEGINNING: Final = (
    "# Settings\n\n"
    "Environment variables of the services. A secret may also lie in a file named by the variable"
    " with `_FILE` appended. A variable with a service's own prefix that the service does not know"
    " is an error at start. What an operator changes while the suite runs (AE titles, SOP classes,"
    " storage structure and so on) is not here but in the configuration document, on the page and"
    " in the REST interface.\n\n"
    "`make run` also reads `DRAW_HOME` (default `./var`), where everything is kept that is not"
    " named otherwise, and gives the services addresses of a private PostgreSQL and RabbitMQ"
    " unless `DRAW_DATABASE_URL` and `DRAW_BROKER_URL` name others.\n\n"
    "This page is written by `make docs`.\n"
)

EXAMPLE_BEGINNING: Final = (
    "# Settings of the suite; docs/settings.md says more. Written by `make docs`.\n"
    "# A commented line shows the default. Lines without a value have to be given one.\n"
)

HANDLER_FOLDERS: Final = "/var/lib/draw-handlers"
"""Where workers have the folders of other programs, in every deployment that confines them."""

COMPOSE: Final = (
    ("SUITE_VERSION", "0.0.0", "version that the images are built as and run from"),
    ("SUITE_DICOM_PORT", "11112", "DICOM port of this machine"),
    ("SUITE_DICOM_TLS_PORT", "2762", "DICOM port of this machine for TLS"),
    ("SUITE_WEB_ADDRESS", "127.0.0.1:8000", "address and port of the web page"),
    ("SUITE_DICOMWEB_ADDRESS", "127.0.0.1:8042", "address and port of DICOMweb"),
    ("SUITE_GRAFANA_ADDRESS", "127.0.0.1:3000", "address and port of Grafana"),
    ("SUITE_PROMETHEUS_ADDRESS", "127.0.0.1:9090", "address and port of Prometheus"),
    ("SUITE_SCP_REPLICAS", "2", "receivers behind HAProxy, at most 10"),
    ("SUITE_INDEXER_REPLICAS", "1", "indexers"),
    ("SUITE_WORKER_REPLICAS", "1", "workers for jobs"),
    (
        "SUITE_HANDLER_FOLDERS",
        "handlers",
        f"for rules: folder of this machine, or volume, that workers see as {HANDLER_FOLDERS}",
    ),
)
"""Variables of deploy/compose.yml itself: name, default, meaning."""


@dataclass(slots=True)
class Setting:
    """One variable and the services that read it."""

    variable: str
    info: FieldInfo
    services: list[str] = field(default_factory=list)

    @property
    def secret(self) -> bool:
        """Whether it may come from a file."""
        return any(kind is SecretStr for kind in _kinds(self.info.annotation))

    @property
    def default(self) -> str:
        """The default in the notation of the environment."""
        if self.info.is_required():
            return ""
        value = self.info.get_default(call_default_factory=True, validated_data={})
        if value is None or value == "":
            return ""
        if isinstance(value, tuple):
            return f"[{', '.join(str(item) for item in value)}]"
        return str(value)

    @property
    def limits(self) -> str:
        """The range of valid values."""
        named = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
        found = [
            f"{words} {getattr(rule, sign)}"
            for rule in self.info.metadata
            for sign, words in named.items()
            if getattr(rule, sign, None) is not None
        ]
        return ", ".join(found)


def settings() -> list[Setting]:
    """Return every variable: those of several services first, then by service."""
    found: dict[str, Setting] = {}
    for service in SERVICES:
        for name, info in service.model_fields.items():
            variable = variable_name(info, name)
            found.setdefault(variable, Setting(variable, info)).services.append(service.service)
    return sorted(found.values(), key=lambda s: (len(s.services) == 1, s.services))


def page() -> str:
    """Return docs/settings.md."""
    parts = [BEGINNING]
    for title, group in _grouped():
        parts.append(f"## {title}\n")
        parts.append("| variable | default | meaning |\n| --- | --- | --- |")
        parts.extend(_row(setting) for setting in group)
        parts.append("")
    return "\n".join(parts)


def example() -> str:
    """Return deploy/.env.example."""
    parts = [EXAMPLE_BEGINNING]
    for title, group in _grouped():
        parts.append(f"# --- {title} ---")
        for setting in group:
            mark = "" if setting.info.is_required() else "#"
            parts.append(f"# {_sentence(setting)}\n{mark}{setting.variable}={setting.default}")
        parts.append("")
    parts.append("# --- Only compose.yml ---")
    parts.extend(f"# {meaning}\n#{name}={default}" for name, default, meaning in COMPOSE)
    return "\n".join([*parts, ""])


def pages() -> dict[Path, str]:
    """Return the text of each generated file by its path in the tree."""
    return {Path("docs/settings.md"): page(), Path("deploy/.env.example"): example()}


def _grouped() -> Iterator[tuple[str, list[Setting]]]:
    groups: dict[str, list[Setting]] = {}
    for setting in settings():
        alone = len(setting.services) == 1
        title = f"Only {setting.services[0]}" if alone else "Several services"
        groups.setdefault(title, []).append(setting)
    yield from groups.items()


def _row(setting: Setting) -> str:
    default = "**required**" if setting.info.is_required() else f"`{setting.default}`"
    meaning = _sentence(setting).replace("|", "\\|")
    return f"| `{setting.variable}` | {'' if default == '``' else default} | {meaning} |"


def _sentence(setting: Setting) -> str:
    words = [re.sub(r"\s+", " ", setting.info.description or "")]
    if setting.limits:
        words.append(setting.limits)
    if setting.secret:
        words.append("may be given as _FILE")
    if 1 < len(setting.services) < len(SERVICES):
        words.append("read by " + ", ".join(setting.services))
    return "; ".join(words)


def _kinds(annotation: object) -> Iterator[object]:
    if get_origin(annotation) in {Union, types.UnionType}:
        for part in get_args(annotation):
            yield from _kinds(part)
    elif get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    else:
        yield annotation
