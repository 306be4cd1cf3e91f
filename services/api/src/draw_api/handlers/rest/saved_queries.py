"""Saved queries."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.rest.queries import router as queries
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.queries import Query
from draw_api.models.saved_queries import NewSavedQuery, SavedQuery
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/saved-queries", tags=["queries"])

MayRunQueries = Annotated[Principal, requires(Permission.RUN_QUERIES)]
SavedId = Annotated[int, Path(ge=1, le=2**63 - 1)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.get("")
def saved(
    by: MayRunQueries, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[SavedQuery]:
    """Return your own saved queries and shared ones, by name."""
    return work.saved_queries.saved(by, cursor, limit)


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(HTTPStatus.CONFLICT))
def save(response: Response, by: MayRunQueries, work: InWork, body: NewSavedQuery) -> SavedQuery:
    """Save a query under a name; your own one of that name is replaced."""
    made = work.saved_queries.save(by, body)
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    return made


@router.get("/{saved_id}", responses=NOT_FOUND)
def one(by: MayRunQueries, work: InWork, saved_id: SavedId) -> SavedQuery:
    """Return one saved query."""
    return work.saved_queries.one(by, saved_id)


@router.post("/{saved_id}/run", status_code=HTTPStatus.CREATED, responses=NOT_FOUND)
def run(response: Response, by: MayRunQueries, work: InWork, saved_id: SavedId) -> Query:
    """Send a saved query now; a span of days is counted back from today."""
    made = work.saved_queries.run(by, saved_id)
    response.headers["Location"] = f"{queries.prefix}/{made.id}"
    return made


@router.delete("/{saved_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def remove(by: MayRunQueries, work: InWork, saved_id: SavedId) -> None:
    """Delete a saved query; those of others need the permission to delete everybody's."""
    work.saved_queries.remove(by, saved_id)
