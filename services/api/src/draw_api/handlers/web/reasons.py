"""Shows what rules say about something of the archive, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from draw_api.handlers.web.conditions import comparison_words, window_words
from draw_api.handlers.web.languages import N_, _, gettext
from draw_api.handlers.web.words import words
from draw_api.models.routing import RoutingReasons, SeenCondition, SeenRule
from draw_shared.routing.document import TimeWindow
from draw_shared.routing.evaluation import RuleOutcome
from draw_shared.routing.subjects import UNREADABLE

OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    RuleOutcome.APPLIES: ("yes", N_("Applies")),
    RuleOutcome.DOES_NOT_APPLY: ("queued", N_("Does not apply")),
    RuleOutcome.UNDECIDED: ("unknown", N_("Undecided: a header cannot be read")),
    RuleOutcome.INACTIVE: ("paused", N_("Off")),
    RuleOutcome.OTHER_TRIGGER: ("queued", N_("Another trigger")),
    RuleOutcome.NOT_REACHED: ("queued", N_("Not reached: an earlier rule has stopped")),
}
"""By what came of a rule, its badge and its words."""
HELD: Final[Mapping[bool | None, tuple[str, str]]] = {
    True: ("yes", N_("holds")),
    False: ("no", N_("does not hold")),
    None: ("unknown", N_("undecided")),
}
JOINED: Final[Mapping[str, str]] = {
    "all": N_("all of these"),
    "any": N_("one of these"),
    "not": N_("not this"),
}


@dataclass(frozen=True, slots=True)
class ShownReasons:
    """What rules say, as templates show it."""

    held: ClassVar[Mapping[bool | None, tuple[str, str]]] = HELD

    found: RoutingReasons
    uid: str

    def outcome(self, rule: SeenRule) -> tuple[str, str]:
        """Return the badge and the words of what came of a rule."""
        badge, words = OUTCOMES[rule.outcome]
        return badge, gettext(words)

    def words(self, condition: SeenCondition) -> str:
        """Return what a condition asks, without those within it."""
        if condition.kind in JOINED:
            return gettext(JOINED[condition.kind])
        if condition.kind == "time_of_day":
            return window_words(TimeWindow.model_validate(condition.value))
        return comparison_words(condition.subject, condition.operator, condition.value)

    def values(self, condition: SeenCondition) -> str:
        """Return the values that a condition has seen."""
        seen = condition.seen
        if condition.kind == "time_of_day":
            seen = [_day_and_clock(one) for one in seen]
        elif condition.subject == UNREADABLE:
            seen = [_("yes") if one == "true" else _("no") for one in seen]
        return "; ".join(seen) or _("no value")


def _day_and_clock(seen: str) -> str:
    """Return a day of the week and a time of day in the visitor's language."""
    day, _blank, clock = seen.partition(" ")
    return f"{words(day)} {clock}"
