"""Every operation says in words, by field, what it cannot use, and changes nothing.

What each value may be is in tests/unit/api/test_requests.py.
"""

import json
import re
from collections import Counter
from itertools import product
from urllib.parse import quote

import pytest

from draw_api.models.paging import encode_cursor
from support.api import offline_document

pytestmark = [pytest.mark.integration, pytest.mark.security]

DOCUMENT = offline_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
EXAMPLES = {
    "service": "scp", "action": "start", "queue": "indexer.dead", "key": "0" * 24,
    "session_id": "6f1c0a9d52b34e8f7a61b2c3",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "query_id": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
HUGE, NAN = "HUGE", "NAN"
WRONG = {
    "integer": [True, 1.0, 1.5, "1", HUGE, NAN, [1], {}],
    "boolean": [1, 0, 1.0, "true", [True], {}],
    "string": [1, True, 1.5, HUGE, NAN, [], {}],
    "array": [1, True, "x", {"0": 1}],
}
INTERNAL = re.compile(r"\^|\\[sdwx]|\{|Input should|String should|pydantic|function-|constrained")


def filled(path):
    return re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "999999"), path)


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    return schema


def kind_of(schema):
    """Return the only type that a value may have beside null, or nothing."""
    schema = resolved(schema)
    if "anyOf" in schema:
        others = [one for one in map(resolved, schema["anyOf"]) if one.get("type") != "null"]
        schema = others[0] if len(others) == 1 else {}
    return schema.get("type")


def bodies(operation):
    """Yield a document for each field of the body and each value that it cannot have."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = resolved(content.get("schema", {}))
    choices = [resolved(one) for one in schema.get("oneOf", schema.get("anyOf", [schema]))]
    for choice in choices:
        for name, given in choice.get("properties", {}).items():
            for value in WRONG.get(kind_of(given), ()) if "const" not in given else ():
                kinds = {n: g["const"] for n, g in choice["properties"].items() if "const" in g}
                yield name, kinds | {name: value}


def written(document):
    text = json.dumps(document)
    return text.replace(f'"{HUGE}"', "1" + "0" * 400).replace(f'"{NAN}"', "NaN")


@pytest.fixture(scope="module")
def admin(shared_api):
    return shared_api.of_role("admin")


def problems(answer):
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = answer.json()
    assert not INTERNAL.search(" ".join(p["field"] + " " + p["message"] for p in found["errors"]))
    return {one["field"]: one["message"] for one in found["errors"]}


WITH_BODY = [each for each in OPERATIONS if list(bodies(each[2]))]


@pytest.mark.parametrize(
    ("method", "path", "operation"), WITH_BODY, ids=[f"{m} {p}" for m, p, _ in WITH_BODY]
)
def test_a_field_takes_no_value_of_another_type(admin, method, path, operation):
    for name, document in bodies(operation):
        if path.startswith("/api/v1/config"):
            continue
        answer = admin.request(
            method,
            filled(path),
            content=written(document),
            headers={"Content-Type": "application/json"},
        )
        said = problems(answer)
        assert any(f == name or f.startswith(f"{name}.") for f in said), (document, said)


def test_true_is_no_port(admin):
    before = admin.get("/api/v1/config").json()["document"]
    for value in (True, 104.0, "104", 0, 10**400, [104]):
        answer = admin.patch(
            "/api/v1/config", json={"network": {"port": value}}, headers={"If-Match": "*"}
        )
        assert set(problems(answer)) == {"network.port"}
    answer = admin.patch(
        "/api/v1/config",
        json={"services": {"c_store": 0}, "storage": {"clean_up": "no"}},
        headers={"If-Match": "*"},
    )
    assert problems(answer) == {
        "services.c_store": "must be true or false",
        "storage.clean_up": "must be true or false",
    }
    assert admin.get("/api/v1/config").json()["document"] == before


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_no_operation_takes_a_parameter_that_it_does_not_know(admin, method, path, operation):
    if path.endswith("/callback"):
        return
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    said = problems(admin.request(method, filled(path), params={"max_limit": "1"}))
    words = said["max_limit"]
    assert words.startswith("is not a parameter here; there ")
    assert all(name in words for name in known)
    once = [
        one["name"]
        for one in operation.get("parameters", ())
        if one["in"] == "query" and kind_of(one["schema"]) != "array"
    ]
    for name in once:
        answer = admin.request(method, filled(path), params=[(name, "1"), (name, "2")])
        assert problems(answer)[name] == "is given 2 times; once is meant"


WITH_PARAMETERS = [
    (method, path, one["name"], one["in"])
    for method, path, operation in OPERATIONS
    for one in operation.get("parameters", ())
    if one["in"] in {"query", "path"}
]


def test_what_a_parameter_cannot_be_is_said_in_words(admin):
    spoken = 0
    for method, path, name, where in WITH_PARAMETERS:
        wrong = ["x\ny", "\x00", "^[A-Z]", "9" * 5000, "", "x" * 5000]
        for value in wrong:
            there = path
            if where == "path":
                there = path.replace("{" + name + "}", quote(value, safe="") or "%20")
            given = {name: value} if where == "query" else {}
            if "/events" in path:
                continue
            answer = admin.request(method, filled(there), params=given)
            assert answer.status_code != 500, (method, there, given)
            if answer.status_code == 422:
                problems(answer)
                spoken += 1
    assert spoken > 100


LISTS = [
    path
    for method, path, operation in OPERATIONS
    if method == "GET" and any(one["name"] == "cursor" for one in operation.get("parameters", ()))
]
KEYS_OF_NO_ROW = (1, 2**40, "x", "\ud800", "a\0", "9999-12-31T23:59:59-14:00")


@pytest.fixture(scope="module")
def asked(admin):
    """A query and a list of questions, for the lists of what was found."""
    node = {"name": "paused", "ae_title": "NOBODY", "host": "192.0.2.1", "port": 104}
    node_id = admin.post("/api/v1/nodes", json=node | {"paused": True}).json()["id"]
    keys = {"PatientID": "0042"}
    query = admin.post("/api/v1/queries", json={"node_ids": [node_id], "keys": keys})
    batch = admin.post("/api/v1/batch-queries", json={"node_ids": [node_id], "lines": [keys]})
    return {"queries": query.json()["id"], "batch-queries": batch.json()["id"]}


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_of_no_list_is_said_to_be_foreign(admin, asked, path):
    for resource, row in asked.items():
        path = path.replace(f"/{resource}/{{query_id}}", f"/{resource}/{row}")
    seen = Counter()
    for length in (1, 2, 4):
        for keys in product(KEYS_OF_NO_ROW, repeat=min(length, 2)):
            made = (*keys, *("x" * max(0, length - 2)))
            answer = admin.get(filled(path), params={"cursor": encode_cursor(*made)})
            seen[answer.status_code] += 1
            if answer.status_code == 422:
                assert problems(answer) == {"cursor": "this cursor does not belong to this list"}
    assert set(seen) <= {200, 404, 422}
    assert seen[404] or seen[422] > len(KEYS_OF_NO_ROW)


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        ("{", "body", "must be JSON"),
        ("[]", "body", "must be an object with named values"),
        ("", "body", "is needed"),
        ('{"name": "a", "password": NaN}', "password", "must be text"),
    ],
)
def test_what_is_no_document_is_said_in_words(shared_api, content, field, words):
    answer = shared_api.client().post(
        "/api/v1/session", content=content, headers={"Content-Type": "application/json"}
    )
    assert problems(answer)[field] == words
