"""Retrieve jobs."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from draw_api.handlers.rest.lists import REFUSALS, UploadedList, list_body
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.jobs import JobState
from draw_api.models.paging import Page
from draw_api.models.retrieves import (
    NewRetrieve,
    Retrieve,
    RetrievedInstance,
    RetrieveParameters,
    RetrieveWithAttempts,
    Urgency,
)
from draw_api.services.retrieve_lists import list_of_csv
from draw_api.services.retrieves import RequestedRetrieve
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/retrieves", tags=["retrieves"])

MayRunJobs = Annotated[Principal, requires(Permission.RUN_JOBS)]
MayReadJobs = Annotated[Principal, requires(Permission.READ_JOBS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
ON_THE_WAY = responses(HTTPStatus.CONFLICT) | {
    HTTPStatus.OK: {"model": Retrieve, "description": "It was on the way; now as soon as asked"}
}
LIST = "StudyInstanceUID\n1.2.840.113619.2.55.3\n1.2.840.113619.2.55.4\n"


@router.post("", status_code=HTTPStatus.CREATED, responses=ON_THE_WAY)
def create(response: Response, by: MayRunJobs, work: InWork, body: NewRetrieve) -> Retrieve:
    """Retrieve studies, series or SOP instances from a node; several items make a batch."""
    return _set_answer(response, work.retrieves.create(by, body, body.items))


@router.post(
    "/csv",
    status_code=HTTPStatus.CREATED,
    responses=ON_THE_WAY | REFUSALS,
    openapi_extra=list_body(LIST),
)
def create_from_list(
    response: Response,
    by: MayRunJobs,
    work: InWork,
    options: Annotated[RetrieveParameters, Query()],
    body: UploadedList,
) -> Retrieve:
    """Retrieve the items of a CSV list, sent as it is or as the file of a form.

    Columns, in any order and by their usual names: StudyInstanceUID, SeriesInstanceUID,
    SOPInstanceUID, PatientID, AccessionNumber. UTF-8, UTF-16 or Windows-1252; comma, semicolon, tab
    or the separator in a first line such as `sep=;`.
    """
    return _set_answer(response, work.retrieves.create(by, options, list_of_csv(body).items))


@router.get("")
def retrieves(
    _: MayReadJobs,
    work: InWork,
    state: Annotated[JobState | None, Query()] = None,
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    parent_id: Annotated[UUID | None, Query(description="the jobs of this batch")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Retrieve]:
    """Return retrieve jobs and batches, last created first."""
    return work.retrieves.retrieves(
        state=state, node_id=node_id, parent_id=parent_id, cursor=cursor, limit=limit
    )


@router.get("/{job_id}", responses=NOT_FOUND)
def retrieve(_: MayReadJobs, work: InWork, job_id: UUID) -> RetrieveWithAttempts:
    """Return one job or batch with its progress and all its attempts."""
    return work.retrieves.retrieve(job_id)


@router.get("/{job_id}/instances", responses=NOT_FOUND)
def instances(
    _: MayReadJobs,
    work: InWork,
    job_id: UUID,
    missing: Annotated[bool, Query(description="only those that have not arrived")] = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[RetrievedInstance]:
    """Return the SOP instances that a job or batch expects, as far as the node names them."""
    return work.retrieves.instances(job_id, missing=missing, cursor=cursor, limit=limit)


@router.post("/{job_id}/cancel", responses=NOT_NOW)
def cancel(by: MayRunJobs, work: InWork, job_id: UUID) -> RetrieveWithAttempts:
    """Cancel a job or batch; running ones are `cancelling` until their worker has stopped."""
    return work.retrieves.cancel(by, job_id)


@router.post("/{job_id}/retry", status_code=HTTPStatus.CREATED, responses=NOT_NOW | ON_THE_WAY)
def retry(response: Response, by: MayRunJobs, work: InWork, job_id: UUID) -> Retrieve:
    """Retrieve only what a finished job or batch lacks, as a new job."""
    return _set_answer(response, work.retrieves.retry(by, job_id))


@router.put("/{job_id}/priority", responses=NOT_NOW)
def prioritise(by: MayRunJobs, work: InWork, job_id: UUID, body: Urgency) -> RetrieveWithAttempts:
    """Set the priority of an unfinished job or batch."""
    return work.retrieves.prioritise(by, job_id, body.priority)


def _set_answer(response: Response, asked: RequestedRetrieve) -> Retrieve:
    response.headers["Location"] = f"{router.prefix}/{asked.retrieve.id}"
    if not asked.new:
        response.status_code = HTTPStatus.OK
    return asked.retrieve
