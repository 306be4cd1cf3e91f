"""Queries to remote nodes."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, SearchText
from draw_api.handlers.work import InWork
from draw_api.models import queries as models
from draw_api.models.paging import Page
from draw_api.models.texts import SORT_KEY
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.moments import Moment
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/queries", tags=["queries"])

MayRunQueries = Annotated[Principal, requires(Permission.RUN_QUERIES)]
MayRunJobs = Annotated[Principal, requires(Permission.RUN_JOBS)]
MayReadQueries = Annotated[Principal, requires(Permission.READ_QUERIES)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={HTTPStatus.OK: {"model": models.Query, "description": "A fresh answer was there"}},
)
def ask(response: Response, by: MayRunQueries, work: InWork, body: models.NewQuery) -> models.Query:
    """Query one or several nodes; watch it at `Location`, results arrive while it runs."""
    query, new = work.queries.ask(by, body)
    response.headers["Location"] = f"{router.prefix}/{query.id}"
    if not new:
        response.status_code = HTTPStatus.OK
    return query


@router.get("")
def queries(
    _: MayReadQueries,
    work: InWork,
    node_id: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="one of the nodes that were asked")
    ] = None,
    created_by: Annotated[SearchText, Query(description="who asked", examples=["admin"])] = "",
    since: Annotated[Moment | None, Query(description="asked from this moment on")] = None,
    until: Annotated[Moment | None, Query(description="asked before this moment")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[models.Query]:
    """Return the queries, the latest first."""
    criteria = models.QueryCriteria(node_id, created_by, since, until)
    return work.queries.queries(criteria, cursor, limit)


@router.get("/{query_id}", responses=NOT_FOUND)
def query(_: MayReadQueries, work: InWork, query_id: UUID) -> models.Query:
    """Return one query with its progress on each node."""
    return work.queries.query(query_id)


@router.get("/{query_id}/results", responses=NOT_FOUND)
def results(
    _: MayReadQueries,
    work: InWork,
    query_id: UUID,
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    search: SearchText = "",
    sort: Annotated[
        str,
        Query(
            description="keyword to sort by, with a minus for descending",
            examples=["-StudyDate"],
        ),
        SORT_KEY,
    ] = "",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[models.QueryMatch]:
    """Return the matches so far; `search` looks into every value."""
    return work.queries.matches(
        query_id, node_id=node_id, search=search, sort=sort, cursor=cursor, limit=limit
    )


@router.post(
    "/{query_id}/results/{result_id}/open",
    status_code=HTTPStatus.CREATED,
    responses={
        HTTPStatus.OK: {"model": models.Query, "description": "A fresh answer was there"},
        **NOT_NOW,
    },
)
def open_match(
    response: Response,
    by: MayRunQueries,
    work: InWork,
    query_id: UUID,
    result_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
) -> models.Query:
    """Ask the node for what is below a match: studies of a patient, series, images."""
    query, new = work.queries.open_match(by, query_id, result_id)
    response.headers["Location"] = f"{router.prefix}/{query.id}"
    if not new:
        response.status_code = HTTPStatus.OK
    return query


@router.post("/{query_id}/retrieve", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def retrieve(
    by: MayRunJobs, work: InWork, query_id: UUID, body: models.RetrieveMatches
) -> models.MatchesRetrieved:
    """Retrieve matches of any level: patients, studies, series or images."""
    requested = work.queries.retrieve(by, query_id, body)
    return models.MatchesRetrieved(
        retrieves=[one.retrieve for one in requested], new=sum(one.new for one in requested)
    )


@router.post("/{query_id}/rerun", status_code=HTTPStatus.CREATED, responses=NOT_FOUND)
def ask_again(response: Response, by: MayRunQueries, work: InWork, query_id: UUID) -> models.Query:
    """Send the same query again."""
    made = work.queries.ask_again(by, query_id)
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    return made


@router.post("/{query_id}/cancel", responses=NOT_NOW)
def cancel(by: MayRunQueries, work: InWork, query_id: UUID) -> models.Query:
    """Cancel a query; matches so far remain."""
    return work.queries.cancel(by, query_id)


@router.delete("/{query_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_NOW)
def remove(by: MayRunQueries, work: InWork, query_id: UUID) -> None:
    """Delete a query with its results."""
    work.queries.remove(by, query_id)
