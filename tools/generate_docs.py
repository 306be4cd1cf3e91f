"""Writes the pages that are generated from code; with `--check`, lists those that would change."""

import sys
from pathlib import Path
from typing import Final

from tools import (
    alert_rules,
    api_page,
    broker_permissions,
    conformance_page,
    dashboards,
    log_events_page,
    messages_page,
    metrics_page,
    settings_page,
)

ROOT: Final = Path(__file__).resolve().parent.parent


def generated() -> dict[Path, str]:
    """Return the text of every generated page by its path in the tree."""
    pages: dict[Path, str] = {}
    for part in (
        settings_page,
        messages_page,
        metrics_page,
        log_events_page,
        alert_rules,
        broker_permissions,
        dashboards,
        conformance_page,
        api_page,
    ):
        pages |= part.pages()
    return pages


def differing() -> list[Path]:
    """Return the pages that are missing or differ from the code."""
    return [path for path, text in generated().items() if _on_disk(ROOT / path) != text]


def _on_disk(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(words: list[str]) -> int:
    """Write the pages, or with `--check` return 1 if one differs."""
    changed = differing()
    if words == ["--check"]:
        for path in changed:
            print(f"{path} differs from the code: run `make docs`")
        return 1 if changed else 0
    for path in changed:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
