"""Says what was decided: in the log, in metrics, and to the worker that delivers."""

from collections.abc import Callable, Sequence

import structlog

from draw_indexer.metrics import RoutingMetrics
from draw_indexer.models import RuleDecision
from draw_shared.routing.document import Trigger

log = structlog.get_logger()


class DecisionReport:
    """Says what was decided, once it is written."""

    def __init__(self, metrics: RoutingMetrics, wake_worker: Callable[[], None]) -> None:
        self._metrics = metrics
        self._wake_worker = wake_worker

    def tell(self, decisions: Sequence[RuleDecision]) -> None:
        """Tell of the decisions of one transaction."""
        for decision in decisions:
            self._metrics.count(decision.undecided, len(decision.deliveries))
            _log(decision)
        self._wake(decisions)

    def tell_again(self, decisions: Sequence[RuleDecision]) -> None:
        """Tell of decisions that were looked at again: what that adds."""
        for decision in decisions:
            self._metrics.count_again(decision.undecided, len(decision.deliveries))
            if not decision.postponed:
                _log(decision)
        self._wake(decisions)

    def _wake(self, decisions: Sequence[RuleDecision]) -> None:
        if any(decision.deliveries for decision in decisions):
            self._wake_worker()


def _log(decision: RuleDecision) -> None:
    told = {
        "study_instance_uid": decision.study_instance_uid,
        "series_instance_uid": decision.series_instance_uid,
        "sop_instance_uid": decision.sop_instance_uid,
        "version": decision.routing_version,
    }
    if decision.undecided:
        log.warning("routing.undecided", rules=list(decision.undecided), **told)
    # Objects are as many as those that the receiver reports, if it is told to.
    write = log.debug if decision.trigger is Trigger.INSTANCE else log.info
    destinations = [one.destination for one in decision.deliveries]
    write("routing.decided", rules=list(decision.applied), destinations=destinations, **told)
