"""Port of the headers of stored files."""

from collections.abc import Sequence
from typing import Protocol

from draw_indexer.models import Headers
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject


class HeaderSource(Protocol):
    """Reads the headers of stored files."""

    def read(self, paths: Sequence[str]) -> Headers:
        """Return the header of each file, or a Transient or Permanent that says why not."""


class HeaderValueSource(Protocol):
    """Reads from stored files what rules of routing ask."""

    def values(
        self, paths: Sequence[str], subjects: Sequence[ConditionSubject]
    ) -> Sequence[HeaderValues | Exception]:
        """Return what each file says, or a Transient or Permanent that says why it cannot."""
