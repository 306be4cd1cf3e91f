"""Answers errors as problem details (RFC 9457): one table from failure to HTTP status."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from draw_shared.contracts.failures import (
    Busy,
    Conflict,
    FieldProblem,
    Forbidden,
    Invalid,
    NotFound,
    OldToken,
    PreconditionFailed,
    PreconditionRequired,
    ProviderUnavailable,
    Refusal,
    TooManyAttempts,
    TooMuchAtOnce,
    TryLater,
    Unauthenticated,
    UnusableText,
)
from draw_shared.contracts.validation_words import problems_of
from draw_shared.db.session import DatabaseUnavailable
from draw_shared.errors import Transient
from draw_shared.messaging.connection import BrokerUnavailable
from draw_shared.wording import message

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
SOMETHING_UNEXPECTED: Final = message("Something unexpected happened; it is in the log.")

STATUSES: Final[dict[type[Exception], HTTPStatus]] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    OldToken: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    PreconditionRequired: HTTPStatus.PRECONDITION_REQUIRED,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnusableText: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    TooMuchAtOnce: HTTPStatus.TOO_MANY_REQUESTS,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}


class FieldError(BaseModel):
    """One field and its problem."""

    field: str = Field(examples=["node_id"])
    message: str = Field(examples=["there is no such remote node"])


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["The index has no such study."])
    errors: list[FieldError] = Field(default=[], description="what is wrong, field by field")


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the answer that describes a problem."""
    body = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        errors=[FieldError(field=e.field, message=e.message) for e in errors],
    )
    return JSONResponse(
        body.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def failure(error: Refusal | TryLater) -> Response:
    """Return the answer for this failure."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="draw"'
    if isinstance(error, TryLater):
        headers["Retry-After"] = str(error.retry_after_seconds)
    problems = error.problems if isinstance(error, Invalid) else ()
    return problem(STATUSES[type(error)], str(error), errors=problems, headers=headers)


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can fail with these statuses."""
    return {
        int(status): {
            "model": Problem,
            "description": status.phrase,
            "content": {MEDIA_TYPE: {}},
        }
        for status in statuses
    }


def install(application: FastAPI) -> None:
    """Make every failure of `application` a problem document."""
    application.add_exception_handler(RequestValidationError, _on_validation)
    application.add_exception_handler(HTTPException, _on_http)
    application.add_exception_handler(Refusal, _on_failure)
    application.add_exception_handler(TryLater, _on_failure)
    application.add_exception_handler(Transient, _on_transient)
    application.add_exception_handler(ClientDisconnect, _on_disconnect)
    application.add_exception_handler(Exception, _on_anything)


def _on_failure(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal | TryLater):
        raise error
    return failure(error)


def _on_validation(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = problems_of(error.errors(), error.body)
    detail = message("The request has values that cannot be used.")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=problems)


def _on_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    detail = error.detail if error.detail != status.phrase else DESCRIPTIONS.get(status, "")
    return problem(status, detail or NOT_TO_BE_DONE, headers=dict(error.headers or {}))


def _on_transient(request: Request, error: Exception) -> Response:
    log.warning("request.unavailable", route=request.url.path, error=type(error).__name__)
    detail = (
        str(error)
        if isinstance(error, ProviderUnavailable)
        else message("Something does not answer.")
    )
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        AWAY.get(type(error), detail),
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _on_disconnect(_: Request, error: Exception) -> Response:  # noqa: ARG001 - nothing is in it
    return problem(
        HTTPStatus.BAD_REQUEST, message("The client went away before its request was complete.")
    )


def _on_anything(_: Request, error: Exception) -> Response:
    log.error("request.failed", error=type(error).__name__, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, SOMETHING_UNEXPECTED)


NOT_TO_BE_DONE: Final = message("This request cannot be carried out.")
DESCRIPTIONS: Final[dict[HTTPStatus, str]] = {
    HTTPStatus.NOT_FOUND: message("There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: message("This cannot be done at this address."),
    HTTPStatus.LENGTH_REQUIRED: message("The request does not say how long it is."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: message("The request is too long."),
}
"""What is said about a status for which the framework has only its English name."""
AWAY: Final[dict[type[Exception], str]] = {
    DatabaseUnavailable: message("The database does not answer; try again."),
    BrokerUnavailable: message("The message broker does not answer; try again."),
}
