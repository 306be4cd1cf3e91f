"""Creates, shows, cancels and repeats retrieves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from uuid import UUID

from draw_api.models.jobs import FINISHED
from draw_api.models.paging import Page
from draw_api.models.retrieves import (
    Retrieve,
    RetrievedInstance,
    RetrieveOptions,
    RetrieveWithAttempts,
    WantedItem,
    item_of,
    parameters_of,
)
from draw_api.ports.retrieves import NewRetrieveRow, RetrieveRepository
from draw_api.ports.wakeups import WakeUps
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.job import JobReadyV1
from draw_shared.contracts.retrieves import KnownSubject, retrieve_key
from draw_shared.wording import message

MAX_WAKEUPS = 32
"""Wake-ups for one batch: enough to begin at once; free workers poll for the rest."""


@dataclass(frozen=True, slots=True)
class RequestedRetrieve:
    """The result of a request: a new job or batch, or one that was already on the way.

    `pulled_forward` says that the existing one now begins sooner.
    """

    retrieve: Retrieve
    new: bool
    pulled_forward: bool = False


class RetrieveService:
    """Manages retrieve jobs for operators."""

    def __init__(self, table: RetrieveRepository, wakeups: WakeUps, audit: AuditTrail) -> None:
        self._table = table
        self._wakeups = wakeups
        self._audit = audit

    def create(
        self,
        by: Principal,
        options: RetrieveOptions,
        items: Sequence[WantedItem],
        known: Sequence[KnownSubject] = (),
    ) -> RequestedRetrieve:
        """Request items; those already on the way are pulled forward instead of requested again.

        `known` says of each item what a query has told about it, if one found them.

        Raises:
            Invalid: there is no such node, or it is switched off.
            Conflict: all of several items are already on the way, and as soon as requested.
        """
        self._require_node(options.node_id)
        rows = {}
        for item, about in zip_longest(items, known):
            subject = subject_of(options, item)
            rows[subject] = NewRetrieveRow(subject, parameters_of(options, item, about))
        return self._add(by, options, list(rows.values()), "retrieve.create")

    def retry(self, by: Principal, job_id: UUID) -> RequestedRetrieve:
        """Request only what a finished job or batch lacks.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not ended yet, or nothing is missing.
        """
        job = self.retrieve(job_id)
        if job.state not in FINISHED:
            raise Conflict(message("The job is not over yet."))
        if job.state == "complete":
            raise Conflict(message("Nothing is missing."))
        if job.node_id is None:
            raise Conflict(message("The remote node of this job was deleted."))
        self._require_node(job.node_id)
        chosen = self._table.unsuccessful(job_id) if job.kind == "batch" else [job_id]
        rows = []
        options = RetrieveOptions(node_id=job.node_id, priority=job.priority)
        for each in chosen:
            held = self._table.parameters(each)
            told = {n: held[n] for n in ("method", "destination", "force") if n in held}
            about = {"about": held["about"]} if "about" in held else {}
            item = WantedItem.model_validate(item_of(held))
            subject = subject_of(options.model_copy(update=told), item)
            # The start time is not repeated: a retry is wanted now.
            rows.append(NewRetrieveRow(subject, item_of(held) | told | about, each))
        asked = self._add(by, options, rows, "retrieve.retry")
        self._table.set_retried([job_id, *chosen], asked.retrieve.id)
        return asked

    def retrieves(
        self,
        *,
        state: str | None,
        node_id: int | None,
        parent_id: UUID | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Retrieve]:
        """Return a page of jobs, last created first; without a parent only those that have none."""
        return self._table.retrieves(
            state=state, node_id=node_id, parent_id=parent_id, cursor=cursor, limit=limit
        )

    def retrieve(self, job_id: UUID) -> RetrieveWithAttempts:
        """Return one job; NotFound when there is none."""
        found = self._table.retrieve(job_id)
        if found is None:
            raise NotFound(message("There is no such retrieve job."))
        return found

    def instances(
        self, job_id: UUID, *, missing: bool, cursor: str | None, limit: int
    ) -> Page[RetrievedInstance]:
        """Return a page of what the job expects, or of what it lacks; NotFound: no such job."""
        self.retrieve(job_id)
        return self._table.instances(job_id, missing=missing, cursor=cursor, limit=limit)

    def cancel(self, by: Principal, job_id: UUID) -> RetrieveWithAttempts:
        """Cancel a job or batch.

        Raises:
            NotFound: there is no such job.
            Conflict: it has already ended.
        """
        self.retrieve(job_id)
        before = self._table.cancel(job_id)
        if before in FINISHED:
            raise Conflict(message("The job is already %(before)s.", before=before))
        self._audit.record(by, "retrieve.cancel", str(job_id))
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.JOB, job_id=job_id))
        return self.retrieve(job_id)

    def prioritise(self, by: Principal, job_id: UUID, priority: int) -> RetrieveWithAttempts:
        """Set the priority of a job or batch.

        Raises:
            NotFound: there is no such job.
            Conflict: it has already ended.
        """
        if self.retrieve(job_id).state in FINISHED:
            raise Conflict(message("The job is over."))
        self._table.prioritise(job_id, priority)
        self._audit.record(by, "retrieve.prioritise", f"{job_id} {priority}")
        return self.retrieve(job_id)

    def _require_node(self, node_id: int) -> None:
        active = self._table.node_is_active(node_id)
        if active is None:
            raise Invalid([FieldProblem("node_id", message("there is no such remote node"))])
        if not active:
            raise Invalid([FieldProblem("node_id", message("this remote node is switched off"))])

    def _add(
        self, by: Principal, options: RetrieveOptions, rows: Sequence[NewRetrieveRow], action: str
    ) -> RequestedRetrieve:
        on_the_way: Mapping[str, UUID] = {}
        if not options.force:
            on_the_way = self._table.on_the_way([row.subject for row in rows])
        new = [row for row in rows if row.subject not in on_the_way]
        pulled = self._pull_forward(by, options, rows, on_the_way)
        if not new:
            return self._describe_existing(rows, on_the_way, pulled)
        batch = None
        if len(rows) > 1:
            batch = {"of": "retrieve", "items": len(new), "already_on_the_way": len(on_the_way)}
        job_id, to_wake = self._table.add(new, options, by.actor, batch=batch)
        self._audit.record(
            by,
            action,
            f"{job_id} node {options.node_id} items {len(new)}",
        )
        if options.not_before is None:
            self._wake([*pulled, *to_wake])
        return RequestedRetrieve(self.retrieve(job_id), new=True, pulled_forward=bool(pulled))

    def _pull_forward(
        self,
        by: Principal,
        options: RetrieveOptions,
        rows: Sequence[NewRetrieveRow],
        on_the_way: Mapping[str, UUID],
    ) -> Sequence[UUID]:
        if not on_the_way:
            return ()
        windows = rows[0].parameters.get("windows", ())
        pulled = self._table.pull_forward(list(on_the_way.values()), options, windows)
        for job_id in pulled:
            self._audit.record(by, "retrieve.prioritise", f"{job_id} {options.priority} sooner")
        return pulled

    def _describe_existing(
        self,
        rows: Sequence[NewRetrieveRow],
        on_the_way: Mapping[str, UUID],
        pulled: Sequence[UUID],
    ) -> RequestedRetrieve:
        """Return the one job, or the batch of the first that was pulled forward."""
        if len(rows) == 1:
            found: Retrieve = self.retrieve(on_the_way[rows[0].subject])
        elif not pulled:
            raise Conflict(
                message("All %(number)s items are already on the way.", number=len(rows))
            )
        else:
            found = self.retrieve(pulled[0])
            if found.parent_id is not None:
                found = self.retrieve(found.parent_id)
        self._wake(pulled)
        return RequestedRetrieve(found, new=False, pulled_forward=bool(pulled))

    def _wake(self, job_ids: Sequence[UUID]) -> None:
        for job_id in job_ids[:MAX_WAKEUPS]:
            self._wakeups.after_commit(JobReadyV1(job_id=job_id))


def subject_of(options: RetrieveOptions, item: WantedItem) -> str:
    """Return a key that is equal for jobs that bring the same to the same place."""
    return retrieve_key(
        options.node_id,
        options.destination,
        study=item.study_instance_uid,
        series=item.series_instance_uid,
        instances=item.sop_instance_uids,
        patient_id=item.patient_id,
        accession_number=item.accession_number,
    )
