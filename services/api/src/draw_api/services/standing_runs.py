"""Runs standing queries: asks what is due, and retrieves what is not here.

Concurrency: every replica of the API looks at intervals. A row lock gives each standing query and
each run to one of them at a time, and of two runs for the same moment the table takes one. Each
step is one transaction, so a process that dies in the middle leaves the run to the next look.

A run is scheduled for a moment, and its days are counted back from there, also when it begins late.
Of several moments that were missed, because no API was running, only the latest is run. The time is
the database's. If that clock is put back, the next moment is computed again, and a moment that has
had its run has no second one.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from draw_api.models.jobs import FINISHED
from draw_api.models.queries import NewQuery, Query
from draw_api.models.retrieves import (
    Retrieve,
    RetrieveOptions,
    WantedItem,
)
from draw_api.models.schedules import ScheduleUnusable, latest_run, next_run
from draw_api.models.standing_queries import (
    MissingStudy,
    RunOutcome,
    RunState,
    ScheduledQuery,
    StudiesFound,
    UnfinishedRun,
)
from draw_api.ports.standing_queries import StandingQueryRepository, StandingRunRepository
from draw_api.services.queries import QueryService
from draw_api.services.relative_dates import study_date_of
from draw_api.services.retrieves import RequestedRetrieve, RetrieveService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal, Role
from draw_shared.contracts.failures import Conflict, Invalid, NotFound
from draw_shared.contracts.retrieves import known_subject
from draw_shared.contracts.validation_words import problems_of
from draw_shared.wording import message

PRIORITY: Final = 7
"""What people request goes first."""
MAX_PROBLEMS: Final = 10
"""Problems that a run names."""
CANCELLED: Final = message("the query was cancelled")
SILENT: Final = message("it has not answered")
TRUNCATED: Final = message("it has not sent every match")
UNFORESEEN: Final = message("it failed for an unforeseen reason; the log of the API has it")


class StandingRunService:
    """Begins due runs and brings those that are going forward."""

    def __init__(
        self,
        table: StandingRunRepository,
        nodes: StandingQueryRepository,
        queries: QueryService,
        retrieves: RetrieveService,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._nodes = nodes
        self._queries = queries
        self._retrieves = retrieves
        self._audit = audit

    def due(self) -> Sequence[int]:
        """Return the standing queries for which `begin` has something to do."""
        now = self._table.moment()
        return [each.id for each in self._table.active() if _is_due(each, now)]

    def going(self) -> Sequence[int]:
        """Return the runs that have not ended."""
        return self._table.unfinished()

    def begin(self, standing_query_id: int) -> str:
        """Begin the run that is due; return its state, empty if there is none to begin."""
        held = self._table.hold(standing_query_id, wait=False)
        if held is None or not held.active or held.next_run_at is None:
            return ""
        now = self._table.moment()
        try:
            following = next_run(held.schedule, held.zone, now)
            if held.next_run_at > now:
                # The clock was put back, or the zone's rules have changed.
                self._table.set_next_run(held.id, following)
                return ""
            latest = latest_run(held.schedule, held.zone, now) or held.next_run_at
        except ScheduleUnusable as error:
            return self._fail(held, held.next_run_at, str(error))
        self._table.set_next_run(held.id, following)
        return self._start(held, max(latest, held.next_run_at), "")

    def fail_to_begin(self, standing_query_id: int) -> str:
        """Record that a due run failed for an unforeseen reason, and wait for the next."""
        held = self._table.hold(standing_query_id, wait=False)
        if held is None or not held.active or held.next_run_at is None:
            return ""
        return self._fail(held, held.next_run_at, UNFORESEEN)

    def run_now(self, by: Principal, standing_query_id: int) -> int:
        """Run a standing query now, also one that is not active; return the run.

        Raises:
            NotFound: there is no such standing query.
            Conflict: a run is going.
        """
        held = self._table.hold(standing_query_id, wait=True)
        if held is None:
            raise NotFound(message("There is no such standing query."))
        if self._table.is_going(standing_query_id) is not None:
            raise Conflict(message("A run of this standing query is still going."))
        self._audit.record(by, "standing-query.run", f"standing query {standing_query_id}")
        self._start(held, self._table.moment(), by.actor)
        return standing_query_id

    def advance(self, run_id: int) -> str:
        """Bring a run forward as far as it goes; return its new state, empty if it is the same."""
        run = self._table.hold_run(run_id)
        if run is None:
            return ""
        if run.state == "retrieving":
            outcome = self._after_retrieves(run)
        elif run.query_id is None:
            outcome = self._ask(run)
        else:
            outcome = self._after_query(run, run.query_id)
        if outcome is None:
            return ""
        self._table.write(run.id, outcome)
        return outcome.state

    def end_unforeseen(self, run_id: int) -> str:
        """End a run that cannot be brought forward for an unforeseen reason."""
        run = self._table.hold_run(run_id)
        if run is None:
            return ""
        self._table.write(run.id, RunOutcome("failed", _said(run, UNFORESEEN)))
        return "failed"

    def _fail(self, held: ScheduledQuery, scheduled_for: datetime, words: str) -> str:
        try:
            following = next_run(held.schedule, held.zone, self._table.moment())
        except ScheduleUnusable:
            following = None
        self._table.set_next_run(held.id, following)
        run_id = self._table.add_run(held.id, scheduled_for, "")
        if run_id is None:
            return ""
        self._table.write(run_id, RunOutcome("failed", (words,)))
        return "failed"

    def _start(self, held: ScheduledQuery, scheduled_for: datetime, run_by: str) -> str:
        before = self._table.is_going(held.id)
        run_id = self._table.add_run(held.id, scheduled_for, run_by)
        if run_id is None:
            return ""
        if before is None:
            return "asking"
        words = message("the run for %(moment)s was still going", moment=_utc(before))
        self._table.write(run_id, RunOutcome("skipped", (words,)))
        return "skipped"

    def _ask(self, run: UnfinishedRun) -> RunOutcome:
        try:
            query = NewQuery.model_validate(run.query)
            usable, problems = self._usable_nodes(query.node_ids)
            if not usable:
                return RunOutcome("failed", problems)
            keys = dict(query.keys)
            if query.study_dates:
                day = run.scheduled_for.astimezone(ZoneInfo(run.zone)).date()
                keys["StudyDate"] = study_date_of(query.study_dates, day)
            sent = query.model_copy(update={"node_ids": usable, "study_dates": "", "keys": keys})
            asked, _ = self._queries.ask(principal_of(run.standing_query_id), sent)
        except ValidationError as error:
            said = [f"{each.field}: {each.message}" for each in problems_of(error.errors())]
            return RunOutcome("failed", tuple(said[:MAX_PROBLEMS]))
        except Invalid as error:
            return RunOutcome("failed", tuple(each.message for each in error.problems))
        return RunOutcome("asking", problems, query_id=asked.id)

    def _usable_nodes(self, node_ids: Sequence[int]) -> tuple[list[int], tuple[str, ...]]:
        there = self._nodes.nodes(node_ids)
        usable, problems = [], []
        for node_id in node_ids:
            node = there.get(node_id)
            if node is None:
                problems.append(message("remote node %(number)s was removed", number=node_id))
            elif node.hindrance:
                problems.append(f"{node.name}: {node.hindrance}")
            else:
                usable.append(node_id)
        return usable, tuple(problems[:MAX_PROBLEMS])

    def _after_query(self, run: UnfinishedRun, query_id: UUID) -> RunOutcome | None:
        """Return what became of a run whose query has ended; None while nodes are asked."""
        try:
            query = self._queries.query(query_id)
        except NotFound:
            return RunOutcome("failed", _said(run, message("its query was deleted")))
        if query.state not in FINISHED:
            return None
        problems = _said(run, *_problems_of(query))
        if query.expired:
            gone = message("the results of its query were gone before they could be used")
            return RunOutcome("failed", (*problems, gone))
        if not query.matches and not any(node.state == "complete" for node in query.nodes):
            return RunOutcome("failed", problems)
        found = self._table.found(query.id)
        if not run.retrieve:
            return RunOutcome(
                _ended(problems), problems, found=found.found, already_here=found.here
            )
        return self._request_missing(run, query.id, problems, found)

    def _request_missing(
        self, run: UnfinishedRun, query_id: UUID, problems: Sequence[str], found: StudiesFound
    ) -> RunOutcome:
        requested = _Requested()
        said = [*problems, *_unusable(found)]
        for node_id, studies in _by_node(self._table.missing(query_id, run.most)).items():
            try:
                requested.add(self._request(run, node_id, studies), len(studies))
            except Conflict:
                requested.on_the_way += len(studies)
            except Invalid as error:
                words = "; ".join(each.message for each in error.problems)
                said.append(f"{studies[0].node_name}: {words}")
        left_out = max(0, found.missing - run.most)
        if left_out:
            said.append(
                message(
                    "studies left out, because a run retrieves at most %(most)s: %(number)s",
                    number=left_out,
                    most=run.most,
                )
            )
        if requested.on_the_way:
            said.append(
                message(
                    "studies that had been requested before: %(number)s",
                    number=requested.on_the_way,
                )
            )
        return RunOutcome(
            "retrieving" if requested.ids else _ended(said),
            tuple(said),
            retrieve_ids=tuple(requested.ids),
            found=found.found,
            already_here=found.here,
            requested=requested.new,
            on_the_way=requested.on_the_way,
            left_out=left_out,
        )

    def _request(
        self, run: UnfinishedRun, node_id: int, studies: Sequence[MissingStudy]
    ) -> RequestedRetrieve:
        return self._retrieves.create(
            principal_of(run.standing_query_id),
            RetrieveOptions(node_id=node_id, priority=PRIORITY),
            [WantedItem(study_instance_uid=each.study_instance_uid) for each in studies],
            [known_subject(each.attributes) for each in studies],
        )

    def _after_retrieves(self, run: UnfinishedRun) -> RunOutcome | None:
        """Return what became of a run whose retrieves have ended; None while they go on."""
        jobs: list[Retrieve] = []
        deleted = 0
        for job_id in run.retrieve_ids:
            try:
                jobs.append(self._retrieves.retrieve(job_id))
            except NotFound:
                deleted += 1
        if not all(job.state in FINISHED for job in jobs):
            return None
        states = _states_of(jobs)
        total = sum(states.values())
        problems = [
            message(words, number=states[state], total=total)
            for state, words in ENDS.items()
            if states.get(state)
        ]
        if deleted:
            problems.append(
                message("retrieves of it that were deleted: %(number)s", number=deleted)
            )
        said = _said(run, *problems)
        nothing = total == states.get("failed", 0) + states.get("cancelled", 0)
        return RunOutcome("failed" if nothing else _ended(said), said)


ENDS: Final[Mapping[str, str]] = {
    "failed": message("%(number)s of %(total)s studies were not retrieved"),
    "cancelled": message("%(number)s of %(total)s studies were cancelled"),
    "partial": message("%(number)s of %(total)s studies have not come completely"),
    "unproved": message("%(number)s of %(total)s studies are not proved to be complete"),
}
"""What is said of retrieves that have not ended complete."""


class _Requested:
    """The retrieves of one run."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []
        self.new = 0
        self.on_the_way = 0

    def add(self, asked: RequestedRetrieve, studies: int) -> None:
        """Count one node's studies; those that were on the way are not followed."""
        new = (sum(asked.retrieve.children.values()) or 1) if asked.new else 0
        if asked.new:
            self.ids.append(asked.retrieve.id)
        self.new += new
        self.on_the_way += studies - new


def principal_of(standing_query_id: int) -> Principal:
    """Return as whom a standing query asks; no user can have a name with a blank."""
    return Principal(0, f"schedule {standing_query_id}", Role.OPERATOR, "")


def _is_due(each: ScheduledQuery, now: datetime) -> bool:
    if each.next_run_at is None or each.next_run_at <= now:
        return each.next_run_at is not None
    try:
        following = next_run(each.schedule, each.zone, now)
    except ScheduleUnusable:
        # It is said when its time comes.
        return False
    return following is not None and following < each.next_run_at


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _said(run: UnfinishedRun, *problems: str) -> tuple[str, ...]:
    return tuple(each for each in (run.error, *problems[:MAX_PROBLEMS]) if each)


def _ended(problems: Sequence[str]) -> RunState:
    return "partial" if problems else "complete"


def _problems_of(query: Query) -> list[str]:
    problems = []
    for node in query.nodes:
        name = node.node_name or message("a remote node that was removed")
        if node.state == "cancelled":
            problems.append(f"{name}: {CANCELLED}")
        elif node.state != "complete":
            problems.append(f"{name}: {node.error or SILENT}")
        elif node.completeness == "truncated":
            problems.append(f"{name}: {TRUNCATED}")
    return problems


def _unusable(found: StudiesFound) -> list[str]:
    """Return in words how many studies cannot be retrieved."""
    problems = []
    if found.silent:
        problems.append(
            message("studies on nodes that send nothing: %(number)s", number=found.silent)
        )
    if found.unnamed:
        problems.append(
            message("studies without a valid Study Instance UID: %(number)s", number=found.unnamed)
        )
    return problems


def _by_node(studies: Sequence[MissingStudy]) -> dict[int, list[MissingStudy]]:
    found: dict[int, list[MissingStudy]] = {}
    for each in studies:
        found.setdefault(each.node_id, []).append(each)
    return found


def _states_of(jobs: Sequence[Retrieve]) -> dict[str, int]:
    """Return how many studies ended in each state."""
    states: dict[str, int] = {}
    for job in jobs:
        for state, number in (job.children or {job.state: 1}).items():
            states[state] = states.get(state, 0) + number
    return states
