"""Objects that contradict the index."""

from typing import Annotated

from fastapi import APIRouter, Query

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.conflicts import ConflictCriteria, ConflictKind, ObjectConflict
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.identifiers import Uid
from draw_shared.web.identity import requires

router = APIRouter(prefix="/api/v1", tags=["archive"])

MayReadArchive = Annotated[Principal, requires(Permission.READ_ARCHIVE)]


@router.get("/conflicts")
def conflicts(
    _: MayReadArchive,
    work: InWork,
    study_instance_uid: Annotated[
        Uid | None, Query(description="named by the object, or of the current object in its place")
    ] = None,
    kind: Annotated[ConflictKind | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[ObjectConflict]:
    """Return objects that contradict the index, last found first; none of them is lost.

    People are listed by `GET /api/v1/patients?ambiguous=true`. A page of one kind may have fewer
    items than its limit, or none, and still have a next page.
    """
    criteria = ConflictCriteria(study_instance_uid or "", kind)
    return work.conflicts.conflicts(criteria, cursor, limit)
