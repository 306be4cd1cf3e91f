"""Standing queries: queries that are asked by a schedule."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.standing_queries import (
    NewStandingQuery,
    StandingQuery,
    StandingQueryChange,
    StandingQueryRun,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/standing-queries", tags=["queries"])

MayReadQueries = Annotated[Principal, requires(Permission.READ_QUERIES)]
MayManageStandingQueries = Annotated[Principal, requires(Permission.MANAGE_STANDING_QUERIES)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("")
def standing_queries(_: MayReadQueries, work: InWork) -> list[StandingQuery]:
    """Return every standing query with its last run, by name."""
    return list(work.standing_queries.all())


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(HTTPStatus.CONFLICT))
def add(
    response: Response, by: MayManageStandingQueries, work: InWork, body: NewStandingQuery
) -> StandingQuery:
    """Ask a query by a schedule from now on; `next_runs` says when."""
    made = work.standing_queries.add(by, body)
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    return made


@router.get("/{standing_query_id}", responses=NOT_FOUND)
def standing_query(_: MayReadQueries, work: InWork, standing_query_id: RowId) -> StandingQuery:
    """Return one standing query with its last run."""
    return work.standing_queries.one(standing_query_id)


@router.patch("/{standing_query_id}", responses=NOT_FOUND)
def change(
    by: MayManageStandingQueries,
    work: InWork,
    standing_query_id: RowId,
    body: StandingQueryChange,
) -> StandingQuery:
    """Change a standing query; omitted fields stay as they are."""
    return work.standing_queries.change(by, standing_query_id, body)


@router.delete("/{standing_query_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def remove(by: MayManageStandingQueries, work: InWork, standing_query_id: RowId) -> None:
    """Delete a standing query with its history; what a run has begun goes on."""
    work.standing_queries.remove(by, standing_query_id)


@router.post("/{standing_query_id}/run", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def run(by: MayManageStandingQueries, work: InWork, standing_query_id: RowId) -> StandingQuery:
    """Run a standing query now, beside its schedule; `last_run` is the new run."""
    return work.standing_queries.one(work.standing_runs.run_now(by, standing_query_id))


@router.get("/{standing_query_id}/runs", responses=NOT_FOUND)
def runs(
    _: MayReadQueries,
    work: InWork,
    standing_query_id: RowId,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[StandingQueryRun]:
    """Return the runs of a standing query, the last first."""
    return work.standing_queries.runs(standing_query_id, cursor, limit)
