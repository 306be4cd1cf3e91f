"""Port of the series and studies that become complete."""

from typing import Protocol

from draw_indexer.models import ClosedEntity


class StabilityRepository(Protocol):
    """Series and studies of the index."""

    def close_quiet(self, seconds: float) -> tuple[list[ClosedEntity], list[ClosedEntity]]:
        """Close what received nothing for this long; return the series and studies closed now.

        Raises:
            Transient: the database does not answer; nothing is closed.
        """
