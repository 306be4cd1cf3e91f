"""Port of C-FIND: what the index has (PS3.4 C.4.1)."""

from collections.abc import Iterator
from typing import Protocol

from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import FindQuery, Row


class MatchCatalogue(Protocol):
    """The index."""

    def matches(self, query: FindQuery, by: Claimant) -> Iterator[list[Row]]:
        """Yield matches for a peer in portions, but for the query's `left_over` conditions.

        Memory does not grow with their number.

        Raises:
            Transient: the index does not answer; what was yielded is not all.
        """
