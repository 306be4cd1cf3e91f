"""Port of the retrieve jobs that pages watch while they run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from draw_api.models.retrieves import Retrieve


class LiveRetrieves(Protocol):
    """What is under way, seen by all who watch."""

    @property
    def stopping(self) -> bool:
        """Whether watching is over."""

    @property
    def seen(self) -> Mapping[UUID, Retrieve]:
        """What was seen last; never changed, only replaced."""

    def watching(self) -> AbstractContextManager[None]:
        """Have it looked at during the block."""
