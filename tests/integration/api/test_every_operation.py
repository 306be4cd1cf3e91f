"""Every operation of the OpenAPI document: nobody gets in; nothing makes the server fail.

Who may do what is tested in test_permissions.py. The streams of events never end and are left out
of the generated requests.
"""

import os
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import OperationConfig
from schemathesis.specs.openapi.checks import response_schema_conformance

from support.api import offline_document

pytestmark = [pytest.mark.integration, pytest.mark.security]

DOCUMENT = offline_document()
STREAMS = "/events"
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
OPERATIONS = [
    (method.upper(), path, operation.get("x-required-role"))
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
GUARDED = [each for each in OPERATIONS if each[2]]
EXAMPLES = {
    "service": "scp",
    "action": "stop",
    "session_id": "6f1c0a9d52b34e8f7a61b2c3",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "query_id": "00000000-0000-4000-8000-000000000000",
}


def filled(path):
    """Return a path with something in the place of each parameter."""
    return re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "1"), path)


def names(operations):
    return [f"{method} {path}" for method, path, _ in operations]


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.mark.parametrize(("method", "path", "role"), GUARDED, ids=names(GUARDED))
def test_nobody_gets_in_without_credentials(shared_api, method, path, role):
    answer = shared_api.client().request(method, filled(path))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    forged = {"Authorization": "Bearer draw_nothing"}
    assert shared_api.client().request(method, filled(path), headers=forged).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [each for each in GUARDED if each[0] in UNSAFE],
    ids=names([each for each in GUARDED if each[0] in UNSAFE]),
)
def test_a_cookie_alone_changes_nothing(shared_api, operator, method, path, role):
    from_elsewhere = shared_api.client()
    from_elsewhere.cookies = operator.cookies
    answer = from_elsewhere.request(method, filled(path))
    assert answer.status_code == 403
    assert "X-CSRF-Token" in answer.json()["detail"]


@pytest.fixture
def credentials(shared_api):
    """Those of an administrator by scheme, made anew for each operation: one of them ends them."""
    bearer = {"Authorization": f"Bearer {shared_api.token()}"}
    return {"HTTPBearer": bearer, "APIKeyCookie": shared_api.session_headers()}


THOROUGH = "DRAW_TEST_THOROUGH" in os.environ
"""Adds every boundary of every parameter: 6,000 requests, `make api-boundaries`."""
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.seed = 20261124
SCHEMA.config.phases.coverage.enabled = THOROUGH
# Its invalid variants of nested conditions have no end. test_document.py has such documents.
SCHEMA.config.operations.operations.append(
    OperationConfig.from_dict(
        {"include-path-regex": "^/api/v1/routing", "generation": {"mode": "positive"}}
    )
)


@SCHEMA.exclude(path_regex=STREAMS).parametrize()
@settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests_never_make_the_server_fail(case, shared_api, credentials):
    security = case.operation.definition.raw.get("security") or [{"HTTPBearer": []}]
    headers = credentials[next(iter(security[0]))]
    answer = case.call(base_url=shared_api.url, headers=headers)
    case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])
