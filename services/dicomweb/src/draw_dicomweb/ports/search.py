"""Port of searches: the index."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import FindQuery, Row


class SearchIndex(Protocol):
    """The index."""

    def matches(
        self, query: FindQuery, by: Claimant, *, limit: int, offset: int
    ) -> AbstractContextManager[Iterator[Row]]:
        """Yield matches in their order, without checking the `left_over` conditions.

        Raises:
            Transient: the index does not answer.
        """
