"""The rules of routing."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response

from draw_api.handlers.rest.config import GUARDED, Comment, IfMatch, VersionInPath
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.routing import (
    RoutingHistoryEntry,
    RoutingPreset,
    RoutingQuestion,
    RoutingReasons,
    RoutingVersion,
)
from draw_api.services.documents import etag
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.routing.document import RoutingDocument
from draw_shared.routing.presets import PRESETS
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/routing", tags=["routing"])

MayReadRouting = Annotated[Principal, requires(Permission.READ_ROUTING)]
MayChangeRouting = Annotated[Principal, requires(Permission.CHANGE_ROUTING)]


@router.get("", responses=responses(HTTPStatus.CONFLICT))
def current(response: Response, _: MayReadRouting, work: InWork) -> RoutingVersion:
    """Return the rules in force; `ETag` names their version."""
    return _set_etag(response, work.routing.current())


@router.put("", responses=GUARDED)
def replace(
    response: Response,
    by: MayChangeRouting,
    work: InWork,
    body: RoutingDocument,
    if_match: IfMatch = None,
    comment: Comment = "",
) -> RoutingVersion:
    """Put a document in force as a new version."""
    return _set_etag(response, work.routing.replace(by, body, if_match, comment))


@router.get("/presets")
def presets(_: MayReadRouting) -> list[RoutingPreset]:
    """Return rules that many departments begin with."""
    return [RoutingPreset(title=preset.title, rule=preset.rule) for preset in PRESETS]


@router.get("/versions")
def history(
    _: MayReadRouting, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[RoutingHistoryEntry]:
    """Return who changed which rules and when, newest first."""
    return work.routing.history(cursor, limit)


@router.get("/versions/{version}", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def version(
    response: Response, _: MayReadRouting, work: InWork, version: VersionInPath
) -> RoutingVersion:
    """Return one version of the rules."""
    return _set_etag(response, work.routing.version(version))


@router.post("/versions/{version}/restore", responses=GUARDED | responses(HTTPStatus.NOT_FOUND))
def restore(
    response: Response,
    by: MayChangeRouting,
    work: InWork,
    version: VersionInPath,
    if_match: IfMatch = None,
) -> RoutingVersion:
    """Roll back: put an earlier version in force again, as a new version."""
    return _set_etag(response, work.routing.restore(by, version, if_match))


@router.post("/explain", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def explain(by: MayReadRouting, work: InWork, body: RoutingQuestion) -> RoutingReasons:
    """Return what rules say about a series of the archive and why; nothing is sent or saved."""
    return work.routing.explain(by, body)


def _set_etag(response: Response, found: RoutingVersion) -> RoutingVersion:
    response.headers["ETag"] = etag(found.version)
    return found
