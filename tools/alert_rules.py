"""Generates the alert rules for the Prometheus operator from those of Prometheus."""

import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
RULES: Final = Path("deploy/monitoring/alerts.yml")
OPERATOR_RULES: Final = Path("deploy/k8s/monitoring/rules.yaml")

BEGINNING: Final = (
    f"# Written by `make docs` from {RULES}.\n"
    "apiVersion: monitoring.coreos.com/v1\n"
    "kind: PrometheusRule\n"
    "metadata:\n"
    "  name: draw\n"
    "spec:\n"
)


def pages() -> dict[Path, str]:
    """Return the manifest by its path in the tree."""
    lines = (ROOT / RULES).read_text(encoding="utf-8").splitlines(keepends=True)
    rules = "".join(line for line in lines if not line.startswith("#"))
    return {OPERATOR_RULES: BEGINNING + textwrap.indent(rules, "  ")}
