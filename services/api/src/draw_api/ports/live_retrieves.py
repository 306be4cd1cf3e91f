"""Port of the retrieve jobs that pages watch while they run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from draw_api.models.retrieves import Retrieve


class LiveRetrieves(Protocol):
    """The running retrieves, shared by all watchers."""

    @property
    def stopping(self) -> bool:
        """Whether watching is over."""

    @property
    def seen(self) -> Mapping[UUID, Retrieve]:
        """The latest state; never changed, only replaced."""

    def watching(self) -> AbstractContextManager[None]:
        """Keep the state up to date during the block."""
