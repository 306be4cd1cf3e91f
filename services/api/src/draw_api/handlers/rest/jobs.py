"""Jobs against remote nodes."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.jobs import Job, JobState, JobWithAttempts, NewJob
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

MayRunJobs = Annotated[Principal, requires(Permission.RUN_JOBS)]
MayReadJobs = Annotated[Principal, requires(Permission.READ_JOBS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.post("", status_code=HTTPStatus.CREATED)
def create(response: Response, by: MayRunJobs, work: InWork, body: NewJob) -> JobWithAttempts:
    """Create a job for the workers; `Location` is where to watch it."""
    job = work.jobs.create(by, body)
    response.headers["Location"] = f"{router.prefix}/{job.id}"
    return job


@router.get("")
def jobs(
    _: MayReadJobs,
    work: InWork,
    state: Annotated[JobState | None, Query()] = None,
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Job]:
    """Return jobs, last created first."""
    return work.jobs.jobs(state, node_id, cursor, limit)


@router.get("/{job_id}", responses=NOT_FOUND)
def job(_: MayReadJobs, work: InWork, job_id: UUID) -> JobWithAttempts:
    """Return one job with all its attempts."""
    return work.jobs.job(job_id)


@router.post("/{job_id}/cancel", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def cancel(by: MayRunJobs, work: InWork, job_id: UUID) -> JobWithAttempts:
    """Cancel a job; a running one is `cancelling` until its worker has stopped."""
    return work.jobs.cancel(by, job_id)
