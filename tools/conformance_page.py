"""The conformance statement of the configuration that `make run` and Compose start with."""

from pathlib import Path
from typing import Final

from draw_api.services.conformance import statement
from draw_shared.contracts.server_config import EVERYTHING

PAGE: Final = Path("docs/conformance.md")


def pages() -> dict[Path, str]:
    """Return the page by its path in the tree."""
    return {PAGE: statement(EVERYTHING, "as of this documentation")}
