"""The OpenAPI document says of every operation what a client needs, without a server.

That operations behave as documented is seen in tests/integration/api/test_every_operation.py.
"""

import pytest

from support.api import offline_document

DOCUMENT = offline_document()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
OPEN = {("POST", "/api/v1/session")}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_says_what_it_does_and_how_it_fails(method, path, operation):
    assert len(operation["summary"].split()) > 2
    problems = {c: r for c, r in operation["responses"].items() if c >= "400"}
    assert "503" in problems
    if operation.get("parameters") or operation.get("requestBody"):
        assert "422" in problems
    for code, response in problems.items():
        problem = response["content"]["application/problem+json"]
        assert problem["example"]["status"] == int(code)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_but_signing_in_needs_a_role(method, path, operation):
    open_to_all = (method, path) in OPEN or path.startswith("/api/v1/oidc")
    assert ("x-required-role" in operation) != open_to_all
    assert bool(operation.get("security")) != open_to_all
    if not open_to_all:
        assert {"401", "403"} <= operation["responses"].keys()


def test_every_request_body_shows_an_example():
    for method, path, operation in OPERATIONS:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert any_example(content["schema"]), f"{method} {path}"


def any_example(schema, depth=0):
    if "examples" in schema:
        return True
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema or "example" in schema or depth > 3:
        return True
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += schema.get("oneOf", ())
    return any(any_example(one, depth + 1) for one in inner if isinstance(one, dict))


def test_references_all_lead_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    missing = {r for r in references(DOCUMENT) if r.rpartition("/")[2] not in schemas}
    assert missing == set()


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)
