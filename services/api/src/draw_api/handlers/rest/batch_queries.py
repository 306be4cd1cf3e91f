"""Batch queries: lists of questions to remote nodes."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.rest.lists import REFUSALS, UploadedList, list_body
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.batch_queries import (
    BatchLine,
    BatchQuery,
    BatchQueryWithSums,
    Found,
    NewBatchQuery,
    NodeIdsInAddress,
    RetrieveFound,
    RetrievesBegun,
    Wanted,
)
from draw_api.models.paging import Page
from draw_api.services.query_lists import query_list_of_csv, query_list_of_keys
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1/batch-queries", tags=["batch queries"])

MayRunQueries = Annotated[Principal, requires(Permission.RUN_QUERIES)]
MayReadQueries = Annotated[Principal, requires(Permission.READ_QUERIES)]
MayRunJobs = Annotated[Principal, requires(Permission.RUN_JOBS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
LIST: Final = "PatientID;StudyDate;Modality\n0042;20260101-20260131;CT\n0043;;\n"
EXPORT_PAGE: Final = 1000
SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t"}
BYTE_ORDER_MARK: Final = "\ufeff"
SHOWN: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ModalitiesInStudy",
    "AccessionNumber",
    "ReferringPhysicianName",
)
COLUMNS: Final = (
    "Line",
    "Asked",
    "Node",
    "State",
    "Here",
    "StudyInstanceUID",
    *SHOWN,
    "InstancesThere",
    "InstancesHere",
    "Error",
)
TABLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {}}, "description": "one line for each study found, or answer"}
}


@router.post("", status_code=HTTPStatus.CREATED)
def ask(
    response: Response, by: MayRunQueries, work: InWork, body: NewBatchQuery
) -> BatchQueryWithSums:
    """Ask one or several nodes a list of questions; watch it at `Location`."""
    asked = query_list_of_keys(body.lines)
    return _set_location(response, work.batch_queries.ask(by, asked, body.node_ids))


@router.post(
    "/csv",
    status_code=HTTPStatus.CREATED,
    responses=REFUSALS,
    openapi_extra=list_body(LIST),
)
def ask_from_list(
    response: Response,
    by: MayRunQueries,
    work: InWork,
    node_id: Annotated[
        NodeIdsInAddress, Query(description="whom to ask; may be given several times")
    ],
    body: UploadedList,
) -> BatchQueryWithSums:
    """Ask one or several nodes the questions of a CSV list, sent as it is or as a form's file.

    Each column is a query key by keyword, name or tag, each line a query for studies. Columns that
    name no attribute are ignored. Encodings and separators as for lists of retrieves.
    """
    return _set_location(response, work.batch_queries.ask(by, query_list_of_csv(body), node_id))


@router.get("")
def batch_queries(
    _: MayReadQueries, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[BatchQuery]:
    """Return the lists, the latest first."""
    return work.batch_queries.batch_queries(cursor, limit)


@router.get("/{query_id}", responses=NOT_FOUND)
def batch_query(_: MayReadQueries, work: InWork, query_id: UUID) -> BatchQueryWithSums:
    """Return one list with its progress on each node, and how much of it is here."""
    return work.batch_queries.batch_query(query_id)


@router.get("/{query_id}/lines", responses=NOT_FOUND)
def lines(
    _: MayReadQueries,
    work: InWork,
    query_id: UUID,
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    state: Annotated[Found | None, Query()] = None,
    here: Annotated[
        Wanted | None, Query(description="missing: not everything found is here")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[BatchLine]:
    """Return each node's answer to each line so far, and how much of it is here."""
    return work.batch_queries.lines(
        query_id, node_id=node_id, state=state, here=here, cursor=cursor, limit=limit
    )


@router.get(
    "/{query_id}/export.csv",
    response_class=StreamingResponse,
    responses=NOT_FOUND | TABLE,
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export(
    request: Request,
    by: MayReadQueries,
    work: InWork,
    query_id: UUID,
    separator: Annotated[Literal["comma", "semicolon", "tab"], Query()] = "comma",
    bom: Annotated[bool, Query(description="begin with a mark by which Excel sees UTF-8")] = False,  # noqa: FBT002 - a query parameter
    state: Annotated[Found | None, Query()] = None,
    here: Annotated[
        Wanted | None, Query(description="missing: lines of which not everything is here")
    ] = None,
) -> StreamingResponse:
    """Return the table as CSV, always with the same columns; no cell can be a formula.

    With `state=found` or `here=missing` the result is a list that can be retrieved.
    """
    work.batch_queries.begin_export(by, query_id)
    return StreamingResponse(
        _table(request.app.state.work, query_id, SEPARATORS[separator], state, here, bom=bom),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="batch-query.csv"'},
    )


@router.post("/{query_id}/retrieve", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def retrieve(by: MayRunJobs, work: InWork, query_id: UUID, body: RetrieveFound) -> RetrievesBegun:
    """Retrieve chosen studies, or everything found that is not completely here."""
    return work.batch_queries.retrieve(by, query_id, body)


@router.post("/{query_id}/rerun", status_code=HTTPStatus.CREATED, responses=NOT_FOUND)
def ask_again(
    response: Response, by: MayRunQueries, work: InWork, query_id: UUID
) -> BatchQueryWithSums:
    """Ask the same list again."""
    return _set_location(response, work.batch_queries.ask_again(by, query_id))


@router.post("/{query_id}/cancel", responses=NOT_NOW)
def cancel(by: MayRunQueries, work: InWork, query_id: UUID) -> BatchQueryWithSums:
    """Cancel a list; answers so far remain."""
    return work.batch_queries.cancel(by, query_id)


@router.delete("/{query_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_NOW)
def remove(by: MayRunQueries, work: InWork, query_id: UUID) -> None:
    """Delete a list with its answers; retrieved objects remain."""
    work.batch_queries.remove(by, query_id)


def _set_location(response: Response, made: BatchQueryWithSums) -> BatchQueryWithSums:
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    return made


def _table(
    factory: WorkFactory,
    query_id: UUID,
    separator: str,
    state: Found | None,
    here: Wanted | None,
    *,
    bom: bool,
) -> Iterator[str]:
    """Yield the table in pieces, each read in its own transaction."""
    yield (BYTE_ORDER_MARK if bom else "") + csv_of([COLUMNS], separator)
    cursor: str | None = None
    while True:
        with factory() as work:
            page = work.batch_queries.lines(
                query_id, node_id=None, state=state, here=here, cursor=cursor, limit=EXPORT_PAGE
            )
        yield csv_of((row for line in page.items for row in _rows(line)), separator)
        cursor = page.next_cursor
        if cursor is None:
            return


def _rows(line: BatchLine) -> Iterator[list[object]]:
    asked = " ".join(f"{keyword}={value}" for keyword, value in line.keys.items())
    first: list[object] = [line.number, asked, line.node_name, line.state]
    if not line.studies:
        yield [*first, "", "", *[""] * len(SHOWN), "", "", line.error]
    for study in line.studies:
        shown = [_text(study.attributes.get(keyword, "")) for keyword in SHOWN]
        counts = [study.instances_there, study.instances_here, line.error]
        yield [*first, study.here, study.study_instance_uid, *shown, *counts]


def _text(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)
