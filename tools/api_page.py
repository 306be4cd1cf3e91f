"""`docs/api.md` and `docs/errors.md`, written from the OpenAPI document and the failures."""

import inspect
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from draw_api.app import Api
from draw_api.settings import ApiSettings
from draw_shared.access.permissions import RULES
from draw_shared.dicom.network.statuses import ANSWERED
from draw_shared.web.problems import STATUSES

NOWHERE: Final = "127.0.0.1:1"
FIRST_ERROR: Final = 400

API_BEGINNING: Final = (
    "# REST interface\n\n"
    "Every operation, by subject. `GET /api/v1/openapi.json` of a running suite has all details:"
    " parameters, bodies with examples, and the problems that an operation can answer with.\n\n"
    "A program sends `Authorization: Bearer <token>`; tokens are made on the page or with"
    " `POST /api/v1/tokens`. A browser has a session cookie and repeats the session's CSRF token"
    " in `X-CSRF-Token` when it changes something. Failures are problem documents (RFC 9457), see"
    " [errors.md](errors.md)."
    " Lists come in pages: give `next_cursor` back as `cursor`.\n\n"
    "Requests of one user take turns with those of others. Of what costs much (images and"
    " elements, archives and exports, sums of the storage) few run at a time and the rest waits."
    " A program that asks for more than may wait gets 429, one that has waited too long 503, and"
    " does well to ask again after `Retry-After` seconds. A request without credentials has at most"
    " 64 kB, others 8 MB (413).\n\n"
    "This page is written by `make docs`.\n\n"
    "## Who may do what\n\n"
    "One table decides it for REST and for the page, which offers nothing that is refused. Each"
    " role includes the ones before it: viewer, operator, admin. A token may do what both its role"
    " and its owner's may, and nothing that is for persons: no token makes, ends or changes what"
    " lets anybody in. `x-permission` in the OpenAPI document names the permission of each"
    " operation.\n\n"
    "| permission | one may | lowest role | a token may |\n| --- | --- | --- | --- |"
)
ERRORS_BEGINNING: Final = (
    "# Errors\n\n"
    "## HTTP\n\n"
    "Every failure is `application/problem+json` (RFC 9457) with `title`, `status`, `detail` and,"
    " where fields are wrong, `errors` with `field` (a dotted path) and `message`. 429 and"
    " 503 have `Retry-After`: the same request is right later. All others will fail again.\n\n"
    "| status | when |\n| --- | --- |"
)
DIMSE_BEGINNING: Final = (
    "\n## DIMSE statuses\n\n"
    "What the receiver answers (PS3.4 B.2.3, C.4); the transaction log has the status and the"
    " reason of each operation.\n\n"
    "| status | name |\n| --- | --- |"
)


def document() -> dict[str, Any]:
    """Return the OpenAPI document of an API that connects to nothing."""
    settings = ApiSettings(
        database_url=SecretStr(f"postgresql://nobody@{NOWHERE}/none"),
        broker_url=SecretStr(f"amqp://nobody@{NOWHERE}/none"),
        storage_root=Path("/none"),
    )
    return Api(settings).application().openapi()


def page(described: Mapping[str, Any]) -> str:
    """Return docs/api.md."""
    groups: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(_row(method.upper(), path, operation))
    parts = [API_BEGINNING, *_permissions(), ""]
    for tag, rows in groups.items():
        parts.append(f"## {tag.capitalize()}\n")
        parts.append("| operation | what it does | role | fails with |\n| --- | --- | --- | --- |")
        parts.extend(rows)
        parts.append("")
    return "\n".join(parts)


def errors() -> str:
    """Return docs/errors.md."""
    parts = [ERRORS_BEGINNING]
    for failure, status in sorted(STATUSES.items(), key=lambda item: item[1]):
        words = (inspect.getdoc(failure) or "").partition("\n")[0]
        parts.append(f"| {int(status)} {status.phrase} | {words} |")
    unavailable = HTTPStatus.SERVICE_UNAVAILABLE
    parts.append(f"| {int(unavailable)} {unavailable.phrase} | The database does not answer. |")
    parts.append(DIMSE_BEGINNING)
    parts.extend(
        f"| 0x{int(s):04X} | {s.name.lower().replace('_', ' ')} |" for s in sorted(ANSWERED)
    )
    return "\n".join([*parts, ""])


def pages() -> dict[Path, str]:
    """Return the text of each generated file by its path in the tree."""
    return {Path("docs/api.md"): page(document()), Path("docs/errors.md"): errors()}


def _permissions() -> Iterator[str]:
    for permission, rule in RULES.items():
        by_token = "no" if rule.persons_only else "yes"
        yield f"| `{permission}` | {rule.what} | {rule.role or 'none'} | {by_token} |"


def _row(method: str, path: str, operation: Mapping[str, Any]) -> str:
    role = operation.get("x-required-role", "none")
    codes = ", ".join(_own_failures(operation))
    summary = operation["summary"].replace("|", "\\|")
    return f"| `{method} {path}` | {summary} | {role} | {codes} |"


def _own_failures(operation: Mapping[str, Any]) -> Iterator[str]:
    """Yield the statuses beside those that every operation has."""
    always = {"422", "429", "503"}
    if "x-required-role" in operation:
        always |= {"401", "403"}
    for code in sorted(operation["responses"]):
        if code.isdigit() and int(code) >= FIRST_ERROR and code not in always:
            yield code
