"""Waits for what must come to pass, for as long as a busy machine needs."""

from collections.abc import Callable
from typing import Final

from tools import processes

BUSY: Final = 3
"""How many times slower a machine may be on which every test still passes."""


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Return True as soon as `condition` holds, or False after `seconds` of a quiet machine."""
    return processes.wait_until(condition, BUSY * seconds)
