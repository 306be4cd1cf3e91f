"""Ports of routing: the change feed, the rules in force, and the decisions that come of both."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from draw_indexer.models import FeedPage, PostponedDecision, RuleDecision, RunningBatch
from draw_shared.routing.batches import ArchiveStep, BatchCriteria
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArchivedFacts, Occasion, Reader
from draw_shared.routing.subjects import ConditionSubject


class RoutingTransaction(Protocol):
    """What decisions need, in one transaction."""

    def document(self, version: int) -> Mapping[str, Any] | None:
        """Return the rules of a version as they are stored; None if there is no such version."""

    def facts(
        self,
        trigger: Trigger,
        uid: str,
        wanted: Iterable[ConditionSubject],
        read: Reader,
        occasion: Occasion | None,
    ) -> ArchivedFacts | None:
        """Return what is known about a series, study or object; None if it is gone.

        Without an occasion it is the last completion.
        """


class RoutingTurn(RoutingTransaction, Protocol):
    """The position of routing in the feed, while this process alone holds it."""

    def version(self) -> int | None:
        """Return the version of the rules in force; None if nobody has written any."""

    def changes(self, triggers: Collection[Trigger], most: int) -> FeedPage:
        """Return the next changes with these triggers, oldest first."""

    def finish(self, decisions: Sequence[RuleDecision], until: int) -> None:
        """Keep the decisions with their deliveries, and move the position behind a change.

        Without this call nothing of the turn is kept.
        """


class BatchTurn(RoutingTransaction, Protocol):
    """A batch that is not carried out yet, while this process alone holds it."""

    batch: RunningBatch

    def step(self, criteria: BatchCriteria, most: int) -> ArchiveStep:
        """Return the next series of the batch."""

    def finish(self, decisions: Sequence[RuleDecision], step: ArchiveStep) -> None:
        """Keep the decisions with their deliveries, and move the position behind a step.

        With the last step the batch is complete. Without this call nothing of the turn is kept.
        """

    def fail(self, error: str) -> None:
        """End the batch because it cannot be carried out."""


class PostponedTurn(RoutingTransaction, Protocol):
    """Decisions that are to be looked at again, while this process alone holds them."""

    decisions: Sequence[PostponedDecision]

    def finish(self, found: Mapping[int, RuleDecision | None]) -> None:
        """Keep what the rules say now, by the numbers of the decisions, with what that adds.

        None: nothing is added, and the decision stays as it is. Those that are not named are
        looked at again later. Without this call nothing of the turn is kept.
        """


class RoutingFeedRepository(Protocol):
    """The rows of routing."""

    def turn(self) -> AbstractContextManager[RoutingTurn | None]:
        """Yield a turn; None if nothing has happened, or while another process has one.

        Raises:
            Transient: the database does not answer.
        """

    def lag_seconds(self) -> float:
        """Return the age of the oldest change that was not looked at; 0 if all were."""

    def postponed_turn(self, most: int) -> AbstractContextManager[PostponedTurn]:
        """Yield decisions whose time it is to be looked at again, and that nobody else has now.

        Raises:
            Transient: the database does not answer.
        """

    def postponed(self) -> int:
        """Return how many decisions are to be looked at again."""

    def batch_turn(self) -> AbstractContextManager[BatchTurn | None]:
        """Yield the oldest batch that is not carried out yet and that nobody else has now.

        Raises:
            Transient: the database does not answer.
        """

    def forget_old(self, days: int) -> None:
        """Delete decisions that were made long ago and have no unfinished delivery."""
