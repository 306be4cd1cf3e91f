"""Tries rules on what was received: what they would have done, and what a batch would do.

Nothing is sent. Most facts come from the index; elements that it does not have are read from files,
so a trial ends after some time and says how far it came.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from draw_api.models.paging import Page
from draw_api.models.routing import RoutingVersion
from draw_api.models.routing_trials import (
    MAX_LISTED,
    BatchOrder,
    DestinationTrial,
    PreviewedSeries,
    ReplayDifference,
    ReplayQuestion,
    RoutingBatch,
    RoutingBatchPreview,
    RoutingReplay,
    RuleTrial,
    TrialEnd,
)
from draw_api.ports.routing import RoutingFactsSource
from draw_api.ports.routing_trials import (
    AppliedCounts,
    Completion,
    CompletionHistory,
    RoutingBatchRepository,
)
from draw_api.services.routing import RoutingService, check_document
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.routing.batches import document_of_batch
from draw_shared.routing.destinations import expand
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator, RuleOutcome
from draw_shared.wording import message

MAX_TRIAL_SECONDS: Final = 20.0
PAGE: Final = 500
MAX_COUNTED_DECISIONS: Final = 50_000
"""Decisions of a day that are counted, about 30 ms."""


class _Said:
    """What rules say about one series."""

    def __init__(
        self, study: str, applied: list[str], undecided: list[str], destinations: list[str]
    ) -> None:
        self.study = study
        self.applied = applied
        self.undecided = undecided
        self.destinations = destinations


class _Trial:
    """Rules that are asked about series until the time is over."""

    def __init__(self, document: RoutingDocument, archive: RoutingFactsSource) -> None:
        self._rules = document.rules
        self._evaluator = Evaluator(document)
        self._destinations = {one.name: one for one in document.destinations}
        self._archive = archive
        self._ends = time.monotonic() + MAX_TRIAL_SECONDS

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._ends

    def ask(self, series_instance_uid: str) -> _Said | None:
        """Return what the rules say about a series; None if it is gone."""
        found = self._archive.facts(
            Trigger.SERIES_COMPLETE, series_instance_uid, self._evaluator.subjects
        )
        if found is None:
            return None
        said = self._evaluator.evaluate(found.facts)
        pairs = list(zip(self._rules, said.outcomes, strict=True))
        return _Said(
            found.study_instance_uid,
            [rule.name for rule, came in pairs if came is RuleOutcome.APPLIES],
            [rule.name for rule, came in pairs if came is RuleOutcome.UNDECIDED],
            expand(said.destinations, self._destinations),
        )


class _Comparison:
    """Counts what rules say beside what was done."""

    def __init__(self) -> None:
        self.series = self.gone = self.different = 0
        self.reached: datetime | None = None
        self.applies: Counter[str] = Counter()
        self.undecided: Counter[str] = Counter()
        self.applied: Counter[str] = Counter()
        self.would: Counter[str] = Counter()
        self.was: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.no_longer: Counter[str] = Counter()
        self.differences: list[ReplayDifference] = []

    def take(self, newest: Completion, before: list[Completion], said: _Said | None) -> None:
        """Count one series: what it completed, and what these rules say."""
        self.reached = newest.occurred_at
        if said is None:
            self.gone += 1
            return
        self.series += 1
        was = {name: None for one in before for name in one.destinations}
        self.applies.update(said.applied)
        self.undecided.update(said.undecided)
        self.applied.update({name for one in before for name in one.applied})
        self.would.update(said.destinations)
        self.was.update(list(was))
        added = [name for name in said.destinations if name not in was]
        # What nobody can decide is not said to go nowhere.
        no_longer = [] if said.undecided else [n for n in was if n not in said.destinations]
        self.added.update(added)
        self.no_longer.update(no_longer)
        if added or no_longer:
            self.different += 1
            if len(self.differences) < MAX_LISTED:
                self.differences.append(
                    ReplayDifference(
                        series_instance_uid=newest.series_instance_uid,
                        study_instance_uid=said.study,
                        completed_at=newest.occurred_at,
                        rules=said.applied,
                        undecided=said.undecided,
                        added=added,
                        no_longer=no_longer,
                    )
                )

    def answer(
        self, version: int | None, days: int, document: RoutingDocument, ended_by: TrialEnd
    ) -> RoutingReplay:
        """Return the counts, those of rules in their order."""
        names = dict.fromkeys([rule.name for rule in document.rules if rule.active])
        names |= dict.fromkeys(sorted(self.applied))
        return RoutingReplay(
            version=version,
            days=days,
            series=self.series,
            gone=self.gone,
            ended_by=ended_by,
            reached=self.reached,
            rules=[
                RuleTrial(
                    name=name,
                    applies=self.applies[name],
                    undecided=self.undecided[name],
                    applied=self.applied[name],
                )
                for name in names
            ],
            destinations=[
                DestinationTrial(
                    name=name,
                    would=self.would[name],
                    was=self.was[name],
                    added=self.added[name],
                    no_longer=self.no_longer[name],
                )
                for name in sorted(self.would | self.was)
            ],
            different=self.different,
            differences=self.differences,
        )


class RoutingReplayService:
    """Says what rules would have done in the last days."""

    def __init__(
        self,
        routing: RoutingService,
        archive: RoutingFactsSource,
        history: CompletionHistory,
        audit: AuditTrail,
    ) -> None:
        self._routing = routing
        self._archive = archive
        self._history = history
        self._audit = audit

    def replay(self, by: Principal, question: ReplayQuestion) -> RoutingReplay:
        """Return what rules say about the series of the last days, beside what was done.

        A series is judged as it is now, with all objects that it has.

        Raises:
            NotFound: there is no such version.
            Invalid: the given document is none; the fields say why.
        """
        version, document = self._rules(question)
        trial, found, ended_by = _Trial(document, self._archive), _Comparison(), "all"
        since = datetime.now(UTC) - timedelta(days=question.days)
        completed: dict[str, list[Completion]] = {}
        for one in self._completions(since):
            if one.series_instance_uid in completed:
                completed[one.series_instance_uid].append(one)
            elif len(completed) == question.limit:
                ended_by = "limit"
            else:
                completed[one.series_instance_uid] = [one]
        for uid, ones in completed.items():
            if trial.over:
                ended_by = "time"
                break
            found.take(ones[0], ones, trial.ask(uid))
        self._audit.record(by, "routing.replay", f"{question.days} days, {found.series} series")
        return found.answer(version, question.days, document, _end(ended_by))

    def applied_today(self, zone: str) -> AppliedCounts:
        """Return how often each rule was applied since the day began in a time zone."""
        now = datetime.now(ZoneInfo(zone))
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return self._history.applied(midnight.astimezone(UTC), MAX_COUNTED_DECISIONS)

    def _rules(self, question: ReplayQuestion) -> tuple[int | None, RoutingDocument]:
        if question.document is not None:
            check_document(question.document, "document")
            return None, question.document
        asked = question.version
        kept: RoutingVersion = (
            self._routing.current() if asked is None else self._routing.version(asked)
        )
        return kept.version, kept.document

    def _completions(self, since: datetime) -> Iterator[Completion]:
        before: int | None = None
        while True:
            some = self._history.completions(before, since, PAGE)
            yield from some
            if len(some) < PAGE:
                return
            before = some[-1].sequence


class ArchiveBatchService:
    """Has rules in force applied to series of the archive; the indexer carries it out."""

    def __init__(
        self,
        routing: RoutingService,
        archive: RoutingFactsSource,
        batches: RoutingBatchRepository,
        audit: AuditTrail,
    ) -> None:
        self._routing = routing
        self._archive = archive
        self._batches = batches
        self._audit = audit

    def preview(self, by: Principal, order: BatchOrder) -> RoutingBatchPreview:
        """Return what a batch would do, as far as can be said in some seconds.

        Raises:
            Invalid: a rule is not one that a batch can apply.
            Conflict: no rule can be applied.
        """
        version, document = self._rules(order)
        trial = _Trial(document, self._archive)
        rules: Counter[str] = Counter()
        destinations: Counter[str] = Counter()
        listed: list[PreviewedSeries] = []
        series = undecided = 0
        ended_by = "all"
        for uid in self._matching(order):
            if trial.over:
                ended_by = "time"
                break
            said = None if uid is None else trial.ask(uid)
            if uid is None or said is None:
                continue
            series += 1
            undecided += bool(said.undecided)
            rules.update(said.applied)
            destinations.update(said.destinations)
            if said.destinations and len(listed) < MAX_LISTED:
                listed.append(
                    PreviewedSeries(
                        series_instance_uid=uid,
                        study_instance_uid=said.study,
                        destinations=said.destinations,
                    )
                )
        self._audit.record(by, "routing.batch_preview", f"{series} series")
        return RoutingBatchPreview(
            routing_version=version,
            series=series,
            deliveries=destinations.total(),
            undecided=undecided,
            ended_by=_end(ended_by),
            rules={rule.name: rules[rule.name] for rule in document.rules},
            destinations=dict(sorted(destinations.items())),
            listed=listed,
        )

    def start(self, by: Principal, order: BatchOrder) -> RoutingBatch:
        """Have rules applied to all series that there are now.

        Raises:
            Invalid: a rule is not one that a batch can apply.
            Conflict: no rule can be applied.
        """
        version, _ = self._rules(order)
        made = self._batches.add(order, version, by.actor)
        self._audit.record(by, "routing.batch", str(made.id))
        return made

    def one(self, batch_id: UUID) -> RoutingBatch:
        """Return a batch; NotFound when there is none."""
        found = self._batches.one(batch_id)
        if found is None:
            raise NotFound(message("There is no such batch."))
        return found

    def page(self, cursor: str | None, limit: int) -> Page[RoutingBatch]:
        """Return batches, newest first."""
        return self._batches.page(cursor, limit)

    def cancel(self, by: Principal, batch_id: UUID) -> RoutingBatch:
        """End a batch; what it has decided stays, and is delivered.

        Raises:
            NotFound: there is none.
            Conflict: it has ended.
        """
        self.one(batch_id)
        if not self._batches.cancel(batch_id):
            raise Conflict(message("The batch has ended already."))
        self._audit.record(by, "routing.batch_cancel", str(batch_id))
        return self.one(batch_id)

    def _rules(self, order: BatchOrder) -> tuple[int, RoutingDocument]:
        current = self._routing.current()
        document = document_of_batch(current.document, order.rules)
        usable = {rule.name for rule in document.rules}
        unknown = [
            FieldProblem(
                f"rules.{number}", message("is no active rule for complete series in force")
            )
            for number, name in enumerate(order.rules)
            if name not in usable
        ]
        if unknown:
            raise Invalid(unknown)
        if not usable:
            raise Conflict(message("There is no active rule for complete series."))
        return current.version, document

    def _matching(self, order: BatchOrder) -> Iterator[str | None]:
        """Yield the series that meet the criteria; None: nothing of so many does."""
        after, until = 0, self._batches.last_series()
        while True:
            step = self._batches.step(order.criteria, after, until)
            yield from step.series or (None,)
            if step.last:
                return
            after = step.reached


def _end(word: str) -> TrialEnd:
    return "time" if word == "time" else "limit" if word == "limit" else "all"
