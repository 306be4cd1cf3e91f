"""Builds Grafana dashboards from panels, and panels from expressions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
WIDTH: Final = 24
HEIGHT: Final = 8
SCHEMA_VERSION: Final = 39

PER_SECOND: Final = "ops"
BYTES: Final = "bytes"
BYTES_PER_SECOND: Final = "Bps"
SECONDS: Final = "s"
NUMBER: Final = "short"
SHARE: Final = "percentunit"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: curves over time, or the last value in large digits."""

    title: str
    unit: str
    curves: Mapping[str, str]
    """Expressions by legend; a legend may name labels in double braces."""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    warns_above: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of panels."""

    uid: str
    title: str
    panels: Sequence[Panel]

    def text(self) -> str:
        """Return the content of the file that Grafana reads."""
        return json.dumps(_document(self), indent=2) + "\n"


def now(title: str, unit: str, expression: str, warns_above: float | None = None) -> Panel:
    """Return a panel with one large number, red above a limit."""
    return Panel(title, unit, {"": expression}, "stat", 4, warns_above=warns_above)


def quantiles(title: str, metric: str, by: str = "") -> Panel:
    """Return a panel with median, 95th and 99th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    prefix = f"{{{{{by}}}}} " if by else ""
    buckets = f"sum by ({labels}) (rate({metric}_bucket[$__rate_interval]))"
    parts = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}
    return Panel(
        title,
        SECONDS,
        {f"{prefix}{words}": f"histogram_quantile({p}, {buckets})" for words, p in parts.items()},
    )


def rate(metric: str, by: str = "", selector: str = "") -> str:
    """Return the expression for the growth rate of a counter."""
    labels = f" by ({by})" if by else ""
    chosen = f"{{{selector}}}" if selector else ""
    return f"sum{labels} (rate({metric}{chosen}[$__rate_interval]))"


def _document(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": f"DRAW DICOM: {dashboard.title}",
        "tags": ["draw-dicom"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "DRAW DICOM",
                "tags": ["draw-dicom"],
                "asDropdown": True,
            }
        ],
        "panels": _placed(dashboard.panels),
    }


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Return the panels side by side, with a new row when one does not fit."""
    found = []
    x = y = row = 0
    for number, panel in enumerate(panels, start=1):
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        if x + panel.width > WIDTH or (row and height != row):
            x, y = 0, y + row
        row = height
        place = {"x": x, "y": y, "w": panel.width, "h": height}
        found.append(_panel(panel, number, place))
        x += panel.width
    return found


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.warns_above is not None:
        steps.append({"color": "red", "value": panel.warns_above})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.stacked:
        defaults["custom"] = {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + place_in_panel),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for place_in_panel, (legend, expression) in enumerate(panel.curves.items())
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
