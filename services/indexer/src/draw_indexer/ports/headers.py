"""Port of the headers of stored files."""

from collections.abc import Sequence
from typing import Protocol

from draw_indexer.models import Headers


class HeaderSource(Protocol):
    """Reads the headers of stored files."""

    def read(self, paths: Sequence[str]) -> Headers:
        """Return the header of each file, or a Transient or Permanent that says why not."""
