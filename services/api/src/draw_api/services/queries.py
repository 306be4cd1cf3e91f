"""Sends queries to remote nodes, and shows their answers."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from draw_api.models.jobs import FINISHED
from draw_api.models.paging import Page
from draw_api.models.queries import (
    ChosenMatch,
    NewQuery,
    Query,
    QueryCriteria,
    QueryMatch,
    QueryOrigin,
    RetrieveMatches,
)
from draw_api.models.retrieves import WantedItem
from draw_api.ports.queries import QueryRepository
from draw_api.ports.wakeups import WakeUps
from draw_api.services.relative_dates import study_date_of
from draw_api.services.retrieves import RequestedRetrieve, RetrieveService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.job import JobReadyV1
from draw_shared.contracts.retrieves import KnownSubject, known_subject
from draw_shared.contracts.validation_words import problems_of
from draw_shared.wording import message

UNIQUE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientID",),
    "STUDY": ("PatientID", "StudyInstanceUID"),
    "SERIES": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
}
"""What identifies a match of a level to the level below it (PS3.4 C.4.1.2.1)."""
BELOW: Final = {"PATIENT": "STUDY", "STUDY": "SERIES", "SERIES": "IMAGE"}
NAMED: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
)
"""Attributes of a match that name it to people, and that matches below it need not have."""
ITEM_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientID",),
    "STUDY": ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
ITEM_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("patient_id",),
    "STUDY": ("study_instance_uid",),
    "SERIES": ("study_instance_uid", "series_instance_uid"),
    "IMAGE": ("study_instance_uid", "series_instance_uid"),
}
"""The fields of an item that the attributes in `ITEM_KEYS` become."""


class QueryService:
    """Manages queries for operators."""

    def __init__(
        self,
        table: QueryRepository,
        retrieves: RetrieveService,
        wakeups: WakeUps,
        audit: AuditTrail,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._retrieves = retrieves
        self._wakeups = wakeups
        self._audit = audit
        self._clock = clock

    def ask(self, by: Principal, query: NewQuery) -> tuple[Query, bool]:
        """Send a query, unless the same one is recent; return it and whether it is new.

        Raises:
            Invalid: a node does not exist, is switched off or answers no queries.
        """
        return self._ask(by, self._dated(query))

    def open_match(self, by: Principal, query_id: UUID, result_id: int) -> tuple[Query, bool]:
        """Ask the node for what is below a match; return that query and whether it is new.

        Below a patient are studies, below a study series, below a series images.

        Raises:
            NotFound: there is no such query or match.
            Conflict: nothing is below it, or the node did not identify it.
            Invalid: the node is switched off or answers no queries.
        """
        query = self.query(query_id)
        below = BELOW.get(query.level)
        if below is None:
            raise Conflict(message("Nothing is below an image."))
        [match] = self._chosen(query_id, [result_id])
        keys = {keyword: match.attributes.get(keyword) for keyword in UNIQUE_KEYS[query.level]}
        if match.query_model == "study" and query.level != "PATIENT":
            # Study Root has no patients, and some nodes refuse their key below studies.
            keys.pop("PatientID")
        elif not keys["PatientID"]:
            del keys["PatientID"]
        if not all(isinstance(value, str) and value for value in keys.values()) or not keys:
            raise Conflict(
                message("The node did not say enough about this to ask for what is below it.")
            )
        try:
            asked = NewQuery.model_validate(
                {"level": below, "keys": keys, "node_ids": [match.node_id]}
            )
        except ValidationError as error:
            raise Invalid(problems_of(error.errors())) from error
        known = {name: match.attributes[name] for name in NAMED if match.attributes.get(name)}
        return self._ask(by, asked, QueryOrigin(query_id=query_id, attributes=known))

    def retrieve(
        self, by: Principal, query_id: UUID, wanted: RetrieveMatches
    ) -> list[RequestedRetrieve]:
        """Retrieve matches of any level from the nodes that have them.

        Raises:
            NotFound: there is no such query, or not all these matches.
            Invalid: a node did not identify a match, or the node is switched off.
            Conflict: all of several items are already on the way.
        """
        level = self.query(query_id).level
        matches = self._chosen(query_id, wanted.result_ids)
        requested = []
        on_the_way: Conflict | None = None
        for node_id in dict.fromkeys(match.node_id for match in matches):
            of_node = [match for match in matches if match.node_id == node_id]
            items, known = items_of(level, of_node)
            try:
                options = wanted.options(node_id)
                requested.append(self._retrieves.create(by, options, items, known))
            except Conflict as conflict:
                # The other nodes' matches may still be new.
                on_the_way = conflict
        if not requested and on_the_way is not None:
            raise on_the_way
        return requested

    def _chosen(self, query_id: UUID, ids: Sequence[int]) -> Sequence[ChosenMatch]:
        found = self._table.chosen(query_id, ids)
        if len(found) < len(set(ids)):
            raise NotFound(message("There is no such match."))
        return found

    def _dated(self, query: NewQuery) -> NewQuery:
        """Return the query with its span of days as the key Study Date."""
        if not query.study_dates:
            return query
        today = self._clock().astimezone(ZoneInfo(query.zone or "UTC")).date()
        keys = {**query.keys, "StudyDate": study_date_of(query.study_dates, today)}
        return query.model_copy(update={"keys": keys})

    def _ask(
        self, by: Principal, query: NewQuery, opened_from: QueryOrigin | None = None
    ) -> tuple[Query, bool]:
        self._require_nodes(query.node_ids)
        fingerprint = fingerprint_of(query, opened=opened_from is not None)
        if query.max_age_seconds:
            known = self._table.fresh(fingerprint, query.max_age_seconds)
            if known is not None:
                return self.query(known), False
        query_id, jobs = self._table.add(query, fingerprint, by.actor, opened_from)
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
        origin = self.query(query_id).opened_from
        try:
            asked = self._table.asked(query_id)
        except ValidationError as error:
            raise Invalid(
                [FieldProblem(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
            ) from error
        return self._ask(by, asked.model_copy(update={"max_age_seconds": 0}), origin)[0]

    def queries(self, criteria: QueryCriteria, cursor: str | None, limit: int) -> Page[Query]:
        """Return a page of those queries, the latest first."""
        return self._table.queries(criteria, cursor, limit)

    def query(self, query_id: UUID) -> Query:
        """Return one query; NotFound when there is none."""
        found = self._table.query(query_id)
        if found is None:
            raise NotFound(message("There is no such query."))
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
            raise Conflict(message("The query is already %(before)s.", before=before))
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
            raise Conflict(message("The query is not over yet; cancel it first."))
        self._table.remove(query_id)
        self._audit.record(by, "query.delete", str(query_id))

    def _require_nodes(self, node_ids: Sequence[int]) -> None:
        states = self._table.node_states(node_ids)
        problems = [
            FieldProblem(
                f"node_ids.{position}", states.get(node_id, message("there is no such remote node"))
            )
            for position, node_id in enumerate(node_ids)
            if states.get(node_id, "missing")
        ]
        if problems:
            raise Invalid(problems)


def items_of(
    level: str, matches: Sequence[ChosenMatch]
) -> tuple[list[WantedItem], list[KnownSubject]]:
    """Return one node's matches as items to retrieve, and what is known about each.

    Images of the same series become one item.

    Raises:
        Invalid: a match lacks what identifies it.
    """
    groups: dict[tuple[str, ...], list[ChosenMatch]] = {}
    for match in matches:
        groups.setdefault(_key_of_item(level, match), []).append(match)
    items = []
    for key, group in groups.items():
        fields: dict[str, Any] = dict(zip(ITEM_FIELDS[level], key, strict=True))
        if level == "IMAGE":
            fields["sop_instance_uids"] = [one.attributes.get("SOPInstanceUID") for one in group]
        try:
            items.append(WantedItem.model_validate(fields))
        except ValidationError as error:
            raise _unidentified(group[0]) from error
    return items, [known_subject(group[0].attributes) for group in groups.values()]


def _key_of_item(level: str, match: ChosenMatch) -> tuple[str, ...]:
    values = [match.attributes.get(keyword) for keyword in ITEM_KEYS[level]]
    if not all(isinstance(value, str) and value for value in values):
        raise _unidentified(match)
    return tuple(map(str, values))


def _unidentified(match: ChosenMatch) -> Invalid:
    words = message("the node did not say enough about this to retrieve it")
    return Invalid([FieldProblem(f"result_ids.{match.id}", words)])


def fingerprint_of(query: NewQuery, *, opened: bool = False) -> str:
    """Return a fingerprint that is equal for queries with the same answer.

    A query that opens a match knows the match; another one with the same keys cannot stand for it.
    """
    asked: list[Any] = [
        query.level,
        sorted(query.keys.items()),
        sorted(set(query.node_ids)),
        query.limit,
    ]
    if opened:
        asked.append("opened")
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
