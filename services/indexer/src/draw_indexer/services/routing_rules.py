"""One version of the rules, as the indexer applies it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from draw_indexer.models import PlannedDelivery, RuleDecision
from draw_shared.errors import Transient
from draw_shared.routing.batches import document_of_batch
from draw_shared.routing.destinations import (
    Destination,
    GroupDestination,
    WebhookDestination,
    expand,
    retrieves,
)
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Decision, Evaluator, RuleOutcome
from draw_shared.routing.facts import ArchivedFacts, RoutingFacts
from draw_shared.routing.subjects import ConditionSubject, ValueKind, subject_of
from draw_shared.wording import message

FactsOf = Callable[[Iterable[ConditionSubject]], ArchivedFacts | None]
"""Returns what is known about one series, study or object as far as subjects ask for it."""

UNDEFINED_SECONDS: Final = 7 * 86_400
"""How long a delivery is kept whose destination nobody defines; whoever sends says so."""
MAX_TOLD_VALUES: Final = 64
MAX_TOLD_LENGTH: Final = 1024


class RulesUnreadable(Transient):
    """The rules in force are another release's: nothing is decided until that changes."""


class RulesInForce:
    """One version of the rules, compiled."""

    def __init__(
        self, version: int, stored: Mapping[str, Any] | None, of_batch: Sequence[str] | None = None
    ) -> None:
        """Compile a stored document, or of it what a batch applies that names these rules.

        Raises:
            RulesUnreadable: this release cannot read it, or there is none.
        """
        if stored is None:
            raise RulesUnreadable(
                message("the database has no version %(version)s of the rules", version=version)
            )
        try:
            document = RoutingDocument.model_validate(stored)
        except (ValidationError, ValueError) as error:
            raise RulesUnreadable(
                message(
                    "this release cannot read version %(version)s of the rules", version=version
                )
            ) from error
        if of_batch is not None:
            document = document_of_batch(document, tuple(of_batch))
        self.version = version
        active = [rule for rule in document.rules if rule.active]
        self.names = [rule.name for rule in active]
        """Of the active rules."""
        self.triggers = frozenset(rule.trigger for rule in active)
        """Of the active rules."""
        self._rules = document.rules
        self._evaluator = Evaluator(document)
        self._destinations = {one.name: one for one in document.destinations}

    def decide(self, trigger: Trigger, uid: str, facts_of: FactsOf) -> RuleDecision | None:
        """Return what the rules say; None if none applies or is undecided, or if it is gone."""
        decision = self.judge(trigger, uid, facts_of)
        return decision if decision and (decision.applied or decision.undecided) else None

    def judge(self, trigger: Trigger, uid: str, facts_of: FactsOf) -> RuleDecision | None:
        """Return what the rules say, also if that is nothing; None if it is gone.

        A destination that is told what an awaited file says is left out until that is known.
        """
        found = facts_of(self._evaluator.subjects)
        if found is None:
            return None
        said = self._evaluator.evaluate(found.facts)
        applied = self._with(said, RuleOutcome.APPLIES)
        undecided = self._with(said, RuleOutcome.UNDECIDED)
        deliveries, complete = self._plan(said.destinations, found.instances, facts_of)
        return RuleDecision(
            routing_version=self.version,
            trigger=trigger,
            study_instance_uid=found.study_instance_uid,
            series_instance_uid=found.series_instance_uid,
            sop_instance_uid=uid if trigger is Trigger.INSTANCE else "",
            applied=applied,
            undecided=undecided,
            deliveries=deliveries,
            postponed=not complete or (found.facts.awaited and bool(undecided)),
        )

    def _with(self, said: Decision, outcome: RuleOutcome) -> list[str]:
        pairs = zip(self._rules, said.outcomes, strict=True)
        return [rule.name for rule, came in pairs if came is outcome]

    def _plan(
        self, names: Sequence[str], instances: int, facts_of: FactsOf
    ) -> tuple[list[PlannedDelivery], bool]:
        """Return deliveries to these destinations, and whether these are all."""
        planned, complete = [], True
        for name in expand(names, self._destinations):
            one = self._destinations.get(name)
            if one is None:
                planned.append(PlannedDelivery(name, UNDEFINED_SECONDS, instances))
                continue
            fields = [field for leaf in self._leaves(one) for field in _fields(leaf)]
            # What is to be retrieved is not known before the node was asked.
            number = 0 if retrieves(one, self._destinations) else instances
            told = _told(fields, facts_of)
            if told is None:
                complete = False
            else:
                planned.append(PlannedDelivery(name, one.give_up_seconds, number, told))
        return planned, complete

    def _leaves(self, one: Destination) -> list[Destination]:
        if not isinstance(one, GroupDestination):
            return [one]
        members = (self._destinations.get(name) for name in one.members)
        return [member for member in members if member is not None]


def _fields(destination: Destination) -> Sequence[str]:
    return destination.fields if isinstance(destination, WebhookDestination) else ()


def _told(fields: Sequence[str], facts_of: FactsOf) -> dict[str, list[str]] | None:
    """Return the values of a webhook's fields by the names that it gives them.

    None: a file that cannot be read now has them.
    """
    if not fields:
        return {}
    subjects = {field: subject_of(field) for field in fields}
    found = facts_of(subjects.values())
    if found is None:
        return {}
    if found.facts.awaited:
        return None
    return {field: _values(found.facts, subject) for field, subject in subjects.items()}


def _values(facts: RoutingFacts, subject: ConditionSubject) -> list[str]:
    if subject.kind is ValueKind.FLAG:
        return [str(facts.unreadable).lower()]
    values = facts.values.get(subject.name, ())[:MAX_TOLD_VALUES]
    return [_storable(value[:MAX_TOLD_LENGTH]) for value in values]


def _storable(value: str) -> str:
    """Return a text without what no database and no JSON of others can hold."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
