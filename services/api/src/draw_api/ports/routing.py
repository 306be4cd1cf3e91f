"""Port of routing: the facts about what was received."""

from collections.abc import Iterable
from typing import Protocol

from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArchivedFacts
from draw_shared.routing.subjects import ConditionSubject


class RoutingFactsSource(Protocol):
    """What the archive knows about what it has."""

    def facts(
        self, trigger: Trigger, uid: str, wanted: Iterable[ConditionSubject]
    ) -> ArchivedFacts | None:
        """Return the facts about a series, study or object; None if there is none."""
