"""The content of stored objects: pictures, elements, whole studies."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.rest.parameters import SearchText, UidInPath
from draw_api.handlers.work import InWork
from draw_api.models.objects import MAX_EDGE, MAX_FRAMES, Elements, ObjectFacts, Rendering
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1", tags=["archive"])

MayReadArchive = Annotated[Principal, requires(Permission.READ_ARCHIVE)]
MayDownloadObjects = Annotated[Principal, requires(Permission.DOWNLOAD_OBJECTS)]

FAILURES = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}, "image/jpeg": {}}, "description": "the frame"}
}
ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "every file"}
}
Number = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]


@router.get(
    "/instances/{sop_instance_uid}/facts",
    responses=FAILURES,
    dependencies=[costs(RequestCost.OBJECTS)],
)
def facts(
    by: MayReadArchive,
    work: InWork,
    sop_instance_uid: UidInPath,
    frame: Annotated[int, Query(ge=1, le=MAX_FRAMES)] = 1,
) -> ObjectFacts:
    """Return what an object contains: frames and range of an image, tables of a plan."""
    return work.objects.facts(by, sop_instance_uid, frame)


@router.get(
    "/instances/{sop_instance_uid}/rendered",
    response_class=Response,
    responses=FAILURES | PICTURE,
    dependencies=[costs(RequestCost.OBJECTS)],
)
def rendered(
    by: MayReadArchive,
    work: InWork,
    sop_instance_uid: UidInPath,
    frame: Annotated[int, Query(ge=1, le=MAX_FRAMES)] = 1,
    center: Number = None,
    width: Number = None,
    edge: Annotated[int, Query(ge=16, le=MAX_EDGE, description="longest side, pixels")] = 1024,
    inverted: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
) -> Response:
    """Return one frame as PNG or JPEG, with the requested window or the object's own."""
    found = work.objects.picture(
        by, sop_instance_uid, Rendering(frame, center, width, edge, inverted)
    )
    return Response(found.content, media_type=found.media_type)


@router.get(
    "/instances/{sop_instance_uid}/elements",
    responses=FAILURES,
    dependencies=[costs(RequestCost.OBJECTS)],
)
def elements(
    by: MayReadArchive, work: InWork, sop_instance_uid: UidInPath, search: SearchText = ""
) -> Elements:
    """Return the data elements, or those that contain a text."""
    return work.objects.elements(by, sop_instance_uid, search.strip())


@router.get(
    "/studies/{study_instance_uid}/archive",
    response_class=StreamingResponse,
    responses=responses(HTTPStatus.NOT_FOUND) | ARCHIVE,
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def archive(
    by: MayDownloadObjects, work: InWork, study_instance_uid: UidInPath
) -> StreamingResponse:
    """Return every file of a study as a ZIP archive; the access is recorded."""
    return StreamingResponse(
        work.objects.hand_out_study(by, study_instance_uid),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{study_instance_uid}.zip"'},
    )


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/archive",
    response_class=StreamingResponse,
    responses=responses(HTTPStatus.NOT_FOUND) | ARCHIVE,
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def series_archive(
    by: MayDownloadObjects,
    work: InWork,
    study_instance_uid: UidInPath,
    series_instance_uid: UidInPath,
) -> StreamingResponse:
    """Return every file of a series as a ZIP archive; the access is recorded."""
    found = work.archive.one_series(study_instance_uid, series_instance_uid)
    return StreamingResponse(
        work.objects.hand_out_series(by, study_instance_uid, found.series_instance_uid),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{series_instance_uid}.zip"'},
    )
