"""Jobs: retrieves with live progress and missing instances, and all other jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.languages import _
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.jobs import FINISHED, Job, JobState, JobWithAttempts
from draw_api.models.paging import Page
from draw_api.models.retrieves import Retrieve, RetrievedInstance, RetrieveWithAttempts, Urgency
from draw_api.services.jobs import HASTENED
from draw_api.services.jobs import RETRIED as SENT_AGAIN
from draw_api.services.retrieves import RequestedRetrieve
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import NotFound
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadJobs = Annotated[Principal, page_requires(Permission.READ_JOBS)]
MayRunJobs = Annotated[Principal, page_requires(Permission.RUN_JOBS)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

MAX_MISSING: Final = 100
MAX_CHILDREN: Final = 200
RETRIED: Final = frozenset(("retrieve", *SENT_AGAIN))
"""Kinds of jobs that can be retried by themselves."""
STATES: Final = get_args(JobState)
State = Annotated[JobState | None, Query()]


@dataclass(frozen=True, slots=True)
class RetrieveListView(View):
    """A page of retrieve jobs and batches."""

    template: ClassVar[str] = "jobs/list.html.jinja"
    fragment: ClassVar[str] = "jobs/_list.html.jinja"

    found: Page[Retrieve]
    state: str
    states: ClassVar[tuple[str, ...]] = STATES


@dataclass(frozen=True, slots=True)
class JobListView(View):
    """A page of all jobs."""

    template: ClassVar[str] = "jobs/all.html.jinja"

    found: Page[Job]
    state: str
    states: ClassVar[tuple[str, ...]] = STATES


@dataclass(frozen=True, slots=True)
class RetrieveView(View):
    """One retrieve job or batch."""

    template: ClassVar[str] = "jobs/detail.html.jinja"
    fragment: ClassVar[str] = "jobs/_live.html.jinja"

    job: RetrieveWithAttempts
    children: list[Retrieve]
    missing: list[RetrievedInstance]
    hastened: ClassVar[tuple[str, ...]] = HASTENED

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.job.state in FINISHED

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it has not ended, or if it never began."""
        began, ended = self.job.started_at, self.job.finished_at
        return (ended - began).total_seconds() if began and ended else None


@dataclass(frozen=True, slots=True)
class OtherJobView(View):
    """One job that is no retrieve."""

    template: ClassVar[str] = "jobs/other.html.jinja"
    fragment: ClassVar[str] = "jobs/_other.html.jinja"

    job: JobWithAttempts
    queries: ClassVar[Mapping[str, str]] = {
        "query_id": "/queries",
        "batch_query_id": "/batch-queries",
    }
    """What names a query, and where queries of its kind are."""
    hastened: ClassVar[tuple[str, ...]] = HASTENED

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.job.state in FINISHED

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """What the job was told, how far it is and what it has found, as far as that is known."""
        job = self.job
        everything = job.parameters | job.progress | job.result
        return [
            (name, value)
            for name, value in everything.items()
            if value not in ("", None, {}) and name != "retried_by"
        ]

    @property
    def may_retry(self) -> bool:
        """Whether it can be queued once more."""
        unfinished = self.over and self.job.state != "complete"
        return unfinished and self.job.kind in RETRIED and self.job.node_id is not None


@router.get("/jobs")
def jobs(
    request: Request, by: MayReadJobs, work: InWork, state: State = None, cursor: Cursor = None
) -> Response:
    """List retrieve jobs, last created first."""
    return page(request, by, _list(work, state, cursor))


@router.get("/jobs/all")
def every(
    request: Request, by: MayReadJobs, work: InWork, state: State = None, cursor: Cursor = None
) -> Response:
    """List all jobs, last created first."""
    found = work.jobs.jobs(state, None, cursor, ON_A_PAGE)
    return page(request, by, JobListView(found, state or ""))


@router.get("/live/jobs", dependencies=[costs(RequestCost.STREAMS)])
def live_list(
    request: Request, _: MayReadJobs, state: State = None, cursor: Cursor = None
) -> StreamingResponse:
    """Stream the list."""
    return stream(request, lambda work: _list(work, state, cursor), "/jobs", Permission.READ_JOBS)


@router.get("/jobs/{job_id}")
def job(request: Request, by: MayReadJobs, work: InWork, job_id: UUID) -> Response:
    """Show one job."""
    return page(request, by, _look(work, job_id))


@router.get("/live/jobs/{job_id}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _: MayReadJobs, job_id: UUID) -> StreamingResponse:
    """Stream one job until it is over."""
    return stream(
        request, lambda work: _look(work, job_id), f"/jobs/{job_id}", Permission.READ_JOBS
    )


@router.get("/jobs/{job_id}/cancel")
def ask_cancel(request: Request, by: MayRunJobs, work: InWork, job_id: UUID) -> Response:
    """Ask for confirmation before a job is cancelled."""
    _look(work, job_id)
    view = ConfirmView(
        title=_("Cancel this job?"),
        text=_("What has arrived stays. What is missing can be retrieved later."),
        button=_("Cancel the job"),
        action=f"/jobs/{job_id}/cancel",
        back=f"/jobs/{job_id}",
    )
    return page(request, by, view)


@router.post("/jobs/{job_id}/cancel")
def cancel(act: RunJobsAct, work: InWork, job_id: UUID) -> Response:
    """Cancel a job."""
    if isinstance(_look(work, job_id), RetrieveView):
        work.retrieves.cancel(act.by, job_id)
    else:
        work.jobs.cancel(act.by, job_id)
    return redirect(f"/jobs/{job_id}", "job-cancelled")


@router.post("/jobs/{job_id}/retry")
def retry(act: RunJobsAct, work: InWork, job_id: UUID) -> Response:
    """Retrieve what a job lacks, or do at once or once more what it was to do."""
    found = _look(work, job_id)
    if isinstance(found, RetrieveView) and found.over:
        asked = work.retrieves.retry(act.by, job_id)
        return redirect(f"/jobs/{asked.retrieve.id}", notice_of(asked))
    return redirect(f"/jobs/{work.jobs.retry(act.by, job_id).id}", "job-created")


@router.post("/jobs/{job_id}/priority")
def prioritise(act: RunJobsAct, work: InWork, job_id: UUID) -> Response:
    """Set the priority of a job."""
    said = validate_form(Urgency, {"priority": act.form.text("priority")})
    work.retrieves.prioritise(act.by, job_id, said.priority)
    return redirect(f"/jobs/{job_id}", "job-priority")


def notice_of(asked: RequestedRetrieve) -> str:
    """Return the notice about a requested retrieve."""
    if asked.new:
        return "job-created"
    return "job-pulled-forward" if asked.pulled_forward else "job-known"


def _list(work: UnitOfWork, state: str | None, cursor: str | None) -> RetrieveListView:
    found = work.retrieves.retrieves(
        state=state, node_id=None, parent_id=None, cursor=cursor, limit=ON_A_PAGE
    )
    return RetrieveListView(found, state or "")


def _look(work: UnitOfWork, job_id: UUID) -> RetrieveView | OtherJobView:
    try:
        found = work.retrieves.retrieve(job_id)
    except NotFound:
        return OtherJobView(work.jobs.job(job_id))
    children: list[Retrieve] = []
    missing: list[RetrievedInstance] = []
    if found.kind == "batch":
        children = work.retrieves.retrieves(
            state=None, node_id=None, parent_id=job_id, cursor=None, limit=MAX_CHILDREN
        ).items
    if found.state in FINISHED and found.state != "complete":
        missing = work.retrieves.instances(
            job_id, missing=True, cursor=None, limit=MAX_MISSING
        ).items
    return RetrieveView(found, children, missing)
