"""Port of C-FIND: the content of the index (PS3.4 C.4.1)."""

from collections.abc import Iterator
from typing import Protocol

from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import FindQuery, Row


class MatchCatalogue(Protocol):
    """The index."""

    def matches(self, query: FindQuery, by: Claimant) -> Iterator[list[Row]]:
        """Yield the matches for a peer in portions, without checking the `left_over` conditions.

        Memory use does not grow with the number of matches.

        Raises:
            Transient: the index does not answer; the matches are incomplete.
        """
