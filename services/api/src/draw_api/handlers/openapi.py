"""The OpenAPI document: defines in one place what all operations have in common.

Summary and description come from the docstring, the role from the permission that the route names.
The problems that any operation can answer with are documented for each.
"""

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from draw_api.handlers.rest.known_parameters import require_known_parameters
from draw_shared.access.permissions import RULES, Permission
from draw_shared.web.identity import SAFE_METHODS, opens, permission_of
from draw_shared.web.problems import MEDIA_TYPE, Problem
from draw_shared.web.turns import TAKES_TURN

ROLE_KEY: Final = "x-required-role"
PERMISSION_KEY: Final = "x-permission"
PATH: Final = "/api/v1/openapi.json"
BEARER: Final[dict[str, list[str]]] = {"HTTPBearer": []}
COOKIE: Final[dict[str, list[str]]] = {"APIKeyCookie": []}
COOKIE_AND_CSRF: Final[dict[str, list[str]]] = {"APIKeyCookie": [], "APIKeyHeader": []}
SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}
DETAILS: Final = {
    HTTPStatus.UNAUTHORIZED: "Sign in, or send a bearer token.",
    HTTPStatus.FORBIDDEN: "This needs the role admin; yours is viewer.",
    HTTPStatus.NOT_FOUND: "There is no such version of the configuration.",
    HTTPStatus.CONFLICT: "This is the last active administrator.",
    HTTPStatus.PRECONDITION_FAILED: "The configuration has changed since you read it.",
    HTTPStatus.PRECONDITION_REQUIRED: "Send If-Match with the ETag of the version that you read.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request has values that cannot be used.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many attempts; try again in 30 s.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database does not answer; try again.",
}
FIELD_PROBLEM: Final = {"field": "limit", "message": "must be at most 500"}


def install(application: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Make `application` describe itself, once and when first asked."""
    routes = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]

    def describe() -> dict[str, Any]:
        if application.openapi_schema is None:
            application.openapi_schema = document(application, routes)
        return application.openapi_schema

    @application.get(
        PATH,
        include_in_schema=False,
        dependencies=[
            TAKES_TURN,
            opens(Permission.READ_API_DESCRIPTION),
            Depends(require_known_parameters),
        ],
    )
    def description() -> JSONResponse:
        return JSONResponse(describe())

    application.openapi = describe  # type: ignore[method-assign]  # FastAPI's way to extend it


def document(application: FastAPI, routes: Iterable[APIRoute]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    found = get_openapi(
        title=application.title,
        version=application.version,
        description="Receiving, finding and retrieving DICOM objects. Every failure is a problem"
        " document (RFC 9457). Lists are read on with `next_cursor`.",
        routes=application.routes,
    )
    schemas = found["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schemas["Problem"].pop("$defs"))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for route in routes:
        for method in route.methods or ():
            operation = found["paths"][route.path][method.lower()]
            _describe(operation, route, method)
    return found


def _describe(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    words = inspect.cleandoc(route.endpoint.__doc__ or "")
    first, _, rest = words.partition("\n\n")
    operation["summary"] = first.replace("\n", " ").rstrip(".")
    operation["description"] = rest or first
    responses = operation["responses"]
    statuses = {int(code) for code in responses if code.isdigit() and code >= "400"}
    statuses |= {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    permission = permission_of(route.dependant)
    if permission is None:
        raise ValueError(f"{method} {route.path} names no permission")
    rule = RULES[permission]
    operation[PERMISSION_KEY] = str(permission)
    if rule.role is None:
        operation.pop("security", None)
    else:
        operation[ROLE_KEY] = str(rule.role)
        persons = ", and a signed-in person: no token" if rule.persons_only else ""
        operation["description"] += f"\n\nNeeds the role `{rule.role}`{persons}."
        cookie = COOKIE if method in SAFE_METHODS else COOKIE_AND_CSRF
        operation["security"] = [cookie] if rule.persons_only else [BEARER, cookie]
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    for status in sorted(statuses):
        responses[str(status)] = _problem(HTTPStatus(status), responses.get(str(status), {}))


def _problem(status: HTTPStatus, said: dict[str, Any]) -> dict[str, Any]:
    errors = [FIELD_PROBLEM] if status is HTTPStatus.UNPROCESSABLE_ENTITY else []
    example = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": DETAILS.get(status, status.description),
        "errors": errors,
    }
    description = said.get("description", "")
    if description in {"", "Validation Error"}:
        description = status.phrase
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": SCHEMA, "example": example}},
    }
