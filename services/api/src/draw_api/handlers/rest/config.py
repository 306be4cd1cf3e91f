"""The configuration document."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Path, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.config import (
    ConfigHistoryEntry,
    ConfigReference,
    ConfigVersion,
    patch_schema,
    reference,
)
from draw_api.models.paging import Page
from draw_api.services.documents import MAX_COMMENT_LENGTH, etag
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.texts import LINE
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/config", tags=["configuration"])

MayReadConfiguration = Annotated[Principal, requires(Permission.READ_CONFIGURATION)]
MayChangeConfiguration = Annotated[Principal, requires(Permission.CHANGE_CONFIGURATION)]

REFERENCE: Final = reference()
GUARDED: Final = responses(
    HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED
)

IfMatch = Annotated[
    str | None,
    Header(
        max_length=200,
        description='ETag of the version that was read, as `"7"`; `*` for whichever is in force',
        examples=['"7"'],
    ),
]
VersionInPath = Annotated[int, Path(ge=1, le=2**31 - 1, examples=[3])]
Patch = Annotated[
    dict[str, Any],
    Body(
        description="sections with the settings to change; null gives a setting its default",
        examples=[{"network": {"max_associations": 25}, "services": {"c_find": True}}],
        json_schema_extra=patch_schema(),
    ),
]
Comment = Annotated[
    str,
    Query(
        max_length=MAX_COMMENT_LENGTH,
        description="why, for the history",
        examples=["more modalities"],
    ),
    LINE,
]


@router.get("")
def current(response: Response, _: MayReadConfiguration, work: InWork) -> ConfigVersion:
    """Return the configuration in force; `ETag` names its version."""
    return _set_etag(response, work.configuration.current())


@router.patch("", responses=GUARDED)
def change(
    response: Response,
    by: MayChangeConfiguration,
    work: InWork,
    body: Patch,
    if_match: IfMatch = None,
    comment: Comment = "",
) -> ConfigVersion:
    """Change settings with a JSON merge patch (RFC 7396); each replica applies them within 2 s."""
    return _set_etag(response, work.configuration.patch(by, body, if_match, comment))


@router.get("/reference")
def config_reference(_: MayReadConfiguration) -> ConfigReference:
    """Return every setting with its default, range, meaning and effect."""
    return REFERENCE


@router.get("/versions")
def history(
    _: MayReadConfiguration, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[ConfigHistoryEntry]:
    """Return who changed what and when, newest first."""
    return work.configuration.history(cursor, limit)


@router.get("/versions/{version}", responses=responses(HTTPStatus.NOT_FOUND))
def version(
    response: Response, _: MayReadConfiguration, work: InWork, version: VersionInPath
) -> ConfigVersion:
    """Return one version of the configuration."""
    return _set_etag(response, work.configuration.version(version))


@router.post("/versions/{version}/restore", responses=GUARDED | responses(HTTPStatus.NOT_FOUND))
def restore(
    response: Response,
    by: MayChangeConfiguration,
    work: InWork,
    version: VersionInPath,
    if_match: IfMatch = None,
) -> ConfigVersion:
    """Roll back: put an earlier version in force again, as a new version."""
    return _set_etag(response, work.configuration.restore(by, version, if_match))


def _set_etag(response: Response, found: ConfigVersion) -> ConfigVersion:
    response.headers["ETag"] = etag(found.version)
    return found
