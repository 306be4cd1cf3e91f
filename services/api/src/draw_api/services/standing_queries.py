"""Manages standing queries: what is asked by a schedule, and the history of its runs.

They belong to the suite and not to a person: they go on when whoever made them has left.
"""

from collections.abc import Sequence
from datetime import datetime

from draw_api.models.paging import Page
from draw_api.models.queries import NewQuery
from draw_api.models.schedules import next_run
from draw_api.models.standing_queries import (
    MAX_STANDING,
    NewStandingQuery,
    ScheduledQuery,
    StandingQuery,
    StandingQueryChange,
    StandingQueryRun,
)
from draw_api.ports.standing_queries import StandingQueryRepository, StandingRunRepository
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.wording import message


class StandingQueryService:
    """Manages standing queries for operators."""

    def __init__(
        self, table: StandingQueryRepository, schedule: StandingRunRepository, audit: AuditTrail
    ) -> None:
        self._table = table
        self._schedule = schedule
        self._audit = audit

    def all(self) -> Sequence[StandingQuery]:
        """Return every standing query, by name."""
        return self._table.all()

    def one(self, standing_query_id: int) -> StandingQuery:
        """Return one standing query; NotFound when there is none."""
        found = self._table.one(standing_query_id)
        if found is None:
            raise NotFound(message("There is no such standing query."))
        return found

    def add(self, by: Principal, new: NewStandingQuery) -> StandingQuery:
        """Ask a query by a schedule from now on.

        Raises:
            Invalid: the name is taken, or there is no such node.
            Conflict: there are too many.
        """
        if self._table.number() >= MAX_STANDING:
            raise Conflict(
                message(
                    "There cannot be more than %(most)s standing queries; remove one first.",
                    most=MAX_STANDING,
                )
            )
        self._require_name(new.name, None)
        self._require_nodes(new.query)
        kept = new.model_copy(update={"query": _kept(new.query)})
        made = self._table.add(
            kept, self._next(new.schedule, new.zone, active=new.active), by.actor
        )
        # Its name and keys may name a patient, so they stay out of the log.
        detail = f"standing query {made}: {new.schedule} {new.zone}"
        self._audit.record(by, "standing-query.create", detail)
        return self.one(made)

    def change(
        self, by: Principal, standing_query_id: int, wanted: StandingQueryChange
    ) -> StandingQuery:
        """Change a standing query; a run that is going goes on as it was.

        Raises:
            NotFound: there is no such standing query.
            Invalid: the name is taken, or there is no such node.
        """
        held = self._schedule.hold(standing_query_id, wait=True)
        if held is None:
            raise NotFound(message("There is no such standing query."))
        values = wanted.values()
        if not values:
            return self.one(standing_query_id)
        if wanted.name is not None:
            self._require_name(wanted.name, standing_query_id)
        if wanted.query is not None:
            self._require_nodes(wanted.query)
            values["query"] = _kept(wanted.query).model_dump(mode="json")
        values["next_run_at"] = self._next_of(held, wanted)
        self._table.change(standing_query_id, values)
        changed = ", ".join(sorted(set(values) - {"next_run_at"}))
        self._audit.record(
            by, "standing-query.update", f"standing query {standing_query_id}: {changed}"
        )
        return self.one(standing_query_id)

    def remove(self, by: Principal, standing_query_id: int) -> None:
        """Delete a standing query with its history; what a run has begun goes on.

        Raises:
            NotFound: there is no such standing query.
        """
        self.one(standing_query_id)
        self._table.remove(standing_query_id)
        self._audit.record(by, "standing-query.delete", f"standing query {standing_query_id}")

    def runs(
        self, standing_query_id: int, cursor: str | None, limit: int
    ) -> Page[StandingQueryRun]:
        """Return a page of its runs, the last first; NotFound: no such standing query."""
        self.one(standing_query_id)
        return self._table.runs(standing_query_id, cursor, limit)

    def _next_of(self, held: ScheduledQuery, wanted: StandingQueryChange) -> datetime | None:
        """Return when a changed one runs next: a due run is not lost to a change of the name."""
        schedule, zone = wanted.schedule or held.schedule, wanted.zone or held.zone
        active = held.active if wanted.active is None else wanted.active
        if (schedule, zone, active) == (held.schedule, held.zone, held.active):
            return held.next_run_at
        return self._next(schedule, zone, active=active)

    def _next(self, schedule: str, zone: str, *, active: bool) -> datetime | None:
        return next_run(schedule, zone, self._table.moment()) if active else None

    def _require_name(self, name: str, except_id: int | None) -> None:
        if self._table.name_is_taken(name, except_id):
            words = message("another standing query has this name")
            raise Invalid([FieldProblem("name", words)])

    def _require_nodes(self, query: NewQuery) -> None:
        there = self._table.nodes(query.node_ids)
        problems = [
            FieldProblem(f"query.node_ids.{position}", message("there is no such remote node"))
            for position, node_id in enumerate(query.node_ids)
            if node_id not in there
        ]
        if problems:
            raise Invalid(problems)


def _kept(query: NewQuery) -> NewQuery:
    """Return the query as it is kept: its zone is the schedule's, and it is always sent."""
    return query.model_copy(update={"zone": "", "max_age_seconds": 0})
