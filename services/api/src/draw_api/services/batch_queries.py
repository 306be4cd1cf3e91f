"""Batch queries: sends a list of questions to nodes, shows answers, retrieves what is missing."""

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from draw_api.models.batch_queries import (
    MAX_QUESTIONS,
    AskedLine,
    BatchLine,
    BatchQuery,
    BatchQueryWithSums,
    RetrieveFound,
    RetrievesBegun,
    StudySource,
)
from draw_api.models.jobs import FINISHED
from draw_api.models.paging import Page
from draw_api.models.retrieves import MAX_ITEMS, Retrieve, WantedItem
from draw_api.ports.batch_queries import BatchQueryRepository
from draw_api.ports.wakeups import WakeUps
from draw_api.services.query_lists import QueryList
from draw_api.services.retrieves import RetrieveService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.job import JobReadyV1
from draw_shared.contracts.retrieves import known_subject
from draw_shared.wording import message


class BatchQueryService:
    """Manages lists of questions for operators."""

    def __init__(
        self,
        table: BatchQueryRepository,
        retrieves: RetrieveService,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._retrieves = retrieves
        self._wakeups = wakeups
        self._audit = audit

    def ask(self, by: Principal, asked: QueryList, node_ids: Sequence[int]) -> BatchQueryWithSums:
        """Ask each node every line.

        Raises:
            Invalid: a node does not exist, is switched off or answers no queries, or there are
                too many
                questions.
        """
        nodes = list(dict.fromkeys(node_ids))
        self.require(asked, nodes)
        return self._add(by, asked.columns, asked.lines, nodes)

    def require(self, asked: QueryList, node_ids: Sequence[int]) -> None:
        """Return if each node can be asked every line; raises like `ask`."""
        if not node_ids:
            raise Invalid([FieldProblem("node_ids", message("choose at least one node to ask"))])
        if len(asked.lines) * len(node_ids) > MAX_QUESTIONS:
            words = message(
                "%(lines)s lines times %(nodes)s nodes are more than %(most)s questions",
                lines=len(asked.lines),
                nodes=len(node_ids),
                most=MAX_QUESTIONS,
            )
            raise Invalid([FieldProblem("node_ids", words)])
        states = self._table.node_states(node_ids)
        problems = [
            FieldProblem(
                f"node_ids.{n}",
                states.get(node_id, message("there is no such remote node")),
            )
            for n, node_id in enumerate(node_ids)
            if states.get(node_id, "missing")
        ]
        if problems:
            raise Invalid(problems)

    def ask_again(self, by: Principal, batch_query_id: UUID) -> BatchQueryWithSums:
        """Ask an earlier list again.

        Raises:
            NotFound: there is no such list.
            Invalid: a node can no longer be asked.
        """
        known = self.batch_query(batch_query_id)
        lines = self._table.asked(batch_query_id)
        self.require(QueryList(known.columns, lines, 0, (), ()), known.node_ids)
        return self._add(by, known.columns, lines, known.node_ids)

    def batch_queries(self, cursor: str | None, limit: int) -> Page[BatchQuery]:
        """Return a page of lists, last asked first."""
        return self._table.batch_queries(cursor, limit)

    def batch_query(self, batch_query_id: UUID) -> BatchQueryWithSums:
        """Return one list with its progress; NotFound when there is none."""
        found = self._table.batch_query(batch_query_id)
        if found is None:
            raise NotFound(message("There is no such batch query."))
        return found

    def lines(
        self,
        batch_query_id: UUID,
        *,
        node_id: int | None,
        state: str | None,
        here: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[BatchLine]:
        """Return a page of the answers so far; NotFound when there is no such list."""
        self.batch_query(batch_query_id)
        return self._table.lines(
            batch_query_id, node_id=node_id, state=state, here=here, cursor=cursor, limit=limit
        )

    def begin_export(self, by: Principal, batch_query_id: UUID) -> None:
        """Record that a user exports the answers; NotFound: no such list."""
        self.batch_query(batch_query_id)
        self._audit.record(by, "batch-query.export", str(batch_query_id))

    def retrieve(
        self, by: Principal, batch_query_id: UUID, wanted: RetrieveFound
    ) -> RetrievesBegun:
        """Retrieve the chosen studies, or each study that is not completely here from one node.

        If several nodes have a study, it is retrieved from the one that reports most instances.

        Raises:
            NotFound: there is no such list.
            Invalid: a chosen study was not found there, or there are too many.
            Conflict: nothing is left to retrieve.
        """
        self.batch_query(batch_query_id)
        found = self._table.found(batch_query_id)
        if wanted.studies:
            chosen = _select_chosen(found, wanted)
        else:
            chosen = self._select_missing(batch_query_id, several=wanted.several)
        if not chosen:
            raise Conflict(message("Nothing is missing that could be retrieved without choosing."))
        if max(map(len, chosen.values())) > MAX_ITEMS:
            words = message(
                "more than %(most)s studies of one node; choose some of them", most=MAX_ITEMS
            )
            raise Invalid([FieldProblem("studies", words)])
        begun: list[Retrieve] = []
        new = 0
        for node_id, uids in chosen.items():
            items = [WantedItem(study_instance_uid=uid) for uid in uids]
            known = [known_subject(found.get((node_id, uid), {})) for uid in uids]
            try:
                asked = self._retrieves.create(by, wanted.options(node_id), items, known)
            except Conflict:
                # All studies of this node are on the way; continue with the other nodes.
                continue
            begun.append(asked.retrieve)
            new += (sum(asked.retrieve.children.values()) or 1) if asked.new else 0
        total = sum(map(len, chosen.values()))
        if not begun:
            raise Conflict(message("All %(total)s studies are already on the way.", total=total))
        return RetrievesBegun(retrieves=begun, studies=new, on_the_way=total - new)

    def cancel(self, by: Principal, batch_query_id: UUID) -> BatchQueryWithSums:
        """Cancel a list; answers so far remain.

        Raises:
            NotFound: there is no such list.
            Conflict: it has already ended.
        """
        self.batch_query(batch_query_id)
        before = self._table.cancel(batch_query_id)
        if before in FINISHED:
            raise Conflict(message("The batch query is already %(before)s.", before=before))
        self._audit.record(by, "batch-query.cancel", str(batch_query_id))
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.JOB, job_id=batch_query_id))
        return self.batch_query(batch_query_id)

    def remove(self, by: Principal, batch_query_id: UUID) -> None:
        """Delete a list with its answers.

        Raises:
            NotFound: there is no such list.
            Conflict: it has not ended yet.
        """
        if self.batch_query(batch_query_id).state not in FINISHED:
            raise Conflict(message("The batch query is not over yet; cancel it first."))
        self._table.remove(batch_query_id)
        self._audit.record(by, "batch-query.delete", str(batch_query_id))

    def _add(
        self,
        by: Principal,
        columns: Sequence[str],
        lines: Sequence[AskedLine],
        node_ids: Sequence[int],
    ) -> BatchQueryWithSums:
        batch_query_id, jobs = self._table.add(columns, lines, node_ids, by.actor)
        # The keys may name patients, so they stay out of the log.
        nodes = " ".join(map(str, node_ids))
        detail = f"{batch_query_id} lines {len(lines)} nodes {nodes}"
        self._audit.record(by, "batch-query.create", detail)
        for job_id in jobs:
            self._wakeups.after_commit(JobReadyV1(job_id=job_id))
        return self.batch_query(batch_query_id)

    def _select_missing(self, batch_query_id: UUID, *, several: bool) -> dict[int, list[str]]:
        best: dict[str, StudySource] = {}
        for source in self._table.sources(batch_query_id):
            if source.certain or several:
                known = best.setdefault(source.study_instance_uid, source)
                if (source.instances_there or 0) > (known.instances_there or 0):
                    best[source.study_instance_uid] = source
        return _by_node((one.node_id, uid) for uid, one in best.items())


def _select_chosen(
    found: Collection[tuple[int, str]], wanted: RetrieveFound
) -> dict[int, list[str]]:
    problems = [
        FieldProblem(f"studies.{n}", message("the node did not answer with this study"))
        for n, one in enumerate(wanted.studies)
        if (one.node_id, one.study_instance_uid) not in found
    ]
    if problems:
        raise Invalid(problems[:1])
    return _by_node((one.node_id, one.study_instance_uid) for one in wanted.studies)


def _by_node(pairs: Iterator[tuple[int, str]]) -> dict[int, list[str]]:
    found: dict[int, dict[str, None]] = {}
    for node_id, uid in pairs:
        found.setdefault(node_id, {})[uid] = None
    return {node_id: list(uids) for node_id, uids in found.items()}
