"""Sends queries to remote nodes, and shows their answers."""

import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

from pydantic import ValidationError

from draw_api.models.access import Principal
from draw_api.models.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_api.models.jobs import FINISHED
from draw_api.models.paging import Page
from draw_api.models.queries import NewQuery, Query, QueryCriteria, QueryMatch
from draw_api.ports.audit import AuditTrail
from draw_api.ports.queries import QueryRepository
from draw_api.ports.wakeups import WakeUps
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.job import JobReadyV1


class QueryService:
    """Manages queries for operators."""

    def __init__(self, table: QueryRepository, wakeups: WakeUps, audit: AuditTrail) -> None:
        self._table = table
        self._wakeups = wakeups
        self._audit = audit

    def ask(self, by: Principal, query: NewQuery) -> tuple[Query, bool]:
        """Send a query, unless the same one is recent; return it and whether it is new.

        Raises:
            Invalid: a node does not exist, is switched off or answers no queries.
        """
        self._require_nodes(query.node_ids)
        fingerprint = fingerprint_of(query)
        if query.max_age_seconds:
            known = self._table.fresh(fingerprint, query.max_age_seconds)
            if known is not None:
                return self.query(known), False
        query_id, jobs = self._table.add(query, fingerprint, by.actor)
        # The keys may name a patient, so they stay out of the log.
        nodes = " ".join(map(str, query.node_ids))
        self._audit.record(by, "query.create", f"{query_id} {query.level} nodes {nodes}")
        for job_id in jobs:
            self._wakeups.after_commit(JobReadyV1(job_id=job_id))
        return self.query(query_id), True

    def ask_again(self, by: Principal, query_id: UUID) -> Query:
        """Send an earlier query again.

        Raises:
            NotFound: there is no such query.
            Invalid: its keys are no longer accepted.
        """
        self.query(query_id)
        try:
            asked = self._table.asked(query_id)
        except ValidationError as error:
            raise Invalid(
                [FieldProblem(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
            ) from error
        return self.ask(by, asked.model_copy(update={"max_age_seconds": 0}))[0]

    def queries(self, criteria: QueryCriteria, cursor: str | None, limit: int) -> Page[Query]:
        """Return a page of those queries, the latest first."""
        return self._table.queries(criteria, cursor, limit)

    def query(self, query_id: UUID) -> Query:
        """Return one query; NotFound when there is none."""
        found = self._table.query(query_id)
        if found is None:
            raise NotFound("There is no such query.")
        return found

    def matches(
        self,
        query_id: UUID,
        *,
        node_id: int | None,
        search: str,
        sort: str,
        cursor: str | None,
        limit: int,
    ) -> Page[QueryMatch]:
        """Return a page of the matches so far; NotFound when there is no such query."""
        self.query(query_id)
        return self._table.matches(
            query_id, node_id=node_id, search=search, sort=sort, cursor=cursor, limit=limit
        )

    def cancel(self, by: Principal, query_id: UUID) -> Query:
        """Cancel a query; matches so far remain.

        Raises:
            NotFound: there is no such query.
            Conflict: it has already ended.
        """
        self.query(query_id)
        before = self._table.cancel(query_id)
        if before in FINISHED:
            raise Conflict(f"The query is already {before}.")
        self._audit.record(by, "query.cancel", str(query_id))
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.JOB, job_id=query_id))
        return self.query(query_id)

    def remove(self, by: Principal, query_id: UUID) -> None:
        """Delete a query with its results.

        Raises:
            NotFound: there is no such query.
            Conflict: it has not ended yet.
        """
        if self.query(query_id).state not in FINISHED:
            raise Conflict("The query is not over yet; cancel it first.")
        self._table.remove(query_id)
        self._audit.record(by, "query.delete", str(query_id))

    def _require_nodes(self, node_ids: Sequence[int]) -> None:
        states = self._table.node_states(node_ids)
        problems = [
            FieldProblem(
                f"node_ids.{position}", states.get(node_id, "there is no such remote node")
            )
            for position, node_id in enumerate(node_ids)
            if states.get(node_id, "missing")
        ]
        if problems:
            raise Invalid(problems)


def fingerprint_of(query: NewQuery) -> str:
    """Return a fingerprint that is equal for queries with the same answer."""
    asked = [query.level, sorted(query.keys.items()), sorted(set(query.node_ids)), query.limit]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
