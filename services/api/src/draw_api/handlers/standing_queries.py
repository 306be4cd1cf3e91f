"""Runs standing queries at intervals, each step in its own transaction."""

from collections.abc import Callable
from typing import Final

import structlog

from draw_api.handlers.work import UnitOfWork, WorkFactory
from draw_api.metrics import ApiMetrics
from draw_shared.errors import Transient

log = structlog.get_logger()

ENDED: Final = ("complete", "partial", "failed", "skipped")


class StandingQueryScheduler:
    """Begins what is due and brings runs forward."""

    def __init__(self, work: WorkFactory, metrics: ApiMetrics) -> None:
        self._work = work
        self._metrics = metrics
        for outcome in ENDED:
            metrics.standing_query_runs.labels(outcome)

    def look(self) -> None:
        """Begin what is due, and bring what is going forward.

        Raises:
            DatabaseUnavailable: what is left is done when it is back.
        """
        with self._work() as work:
            due = work.standing_runs.due()
        for standing_query_id in due:
            self._step(
                standing_query_id,
                lambda work, one: work.standing_runs.begin(one),
                lambda work, one: work.standing_runs.fail_to_begin(one),
            )
        with self._work() as work:
            going = work.standing_runs.going()
        for run_id in going:
            self._step(
                run_id,
                lambda work, one: work.standing_runs.advance(one),
                lambda work, one: work.standing_runs.end_unforeseen(one),
            )

    def _step(
        self,
        number: int,
        action: Callable[[UnitOfWork, int], str],
        otherwise: Callable[[UnitOfWork, int], str],
    ) -> None:
        """Do one thing; if that fails for an unforeseen reason, it must not stop the others."""
        try:
            with self._work() as work:
                state = action(work, number)
        except Transient:
            raise
        except Exception:
            log.exception("standing_query.failed", number=number)
            with self._work() as work:
                state = otherwise(work, number)
        if state in ENDED:
            self._metrics.standing_query_runs.labels(state).inc()
