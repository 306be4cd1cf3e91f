"""How those who change deliveries take turns.

The worker's planner holds the lock for a turn, the API while it carries out what an operator wants.
So neither acts on what the other is changing.
"""

from typing import Final

PLANNER_LOCK: Final = 0x44524156
"""Key of the advisory lock."""
