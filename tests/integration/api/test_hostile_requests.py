"""Whatever a request holds, it is answered in words, with every header, and fails nothing.

Parameters and documents of the wrong type are in test_bad_requests.py, addresses of pages in
test_web_access.py, what comes before there is a request in tests/unit/api/test_http_connection.py.
"""

import http.client
import json
import re
import socket
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import text
from structlog.testing import capture_logs

import draw_api
from draw_api.handlers.web.site import ROUTERS
from draw_shared.web.bodies import MAX_BYTES, USUAL_BYTES
from draw_shared.web.protection import HEADERS
from support.api import PASSWORD, offline_document
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

HANDLERS = Path(draw_api.__file__).parent / "handlers" / "web"
DOCUMENT = offline_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
EXAMPLES = {
    "study_instance_uid": "1.2.3", "series_instance_uid": "1.2.4", "sop_instance_uid": "1.2.5",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "query_id": "00000000-0000-4000-8000-000000000000",
    "service": "scp", "action": "start", "queue": "indexer.dead", "key": "0" * 24,
    "session_id": "6f1c0a9d52b34e8f7a61b2c3",
}  # fmt: skip
FORMS = sorted(
    re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "1"), route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "POST" in route.methods and route.path != "/sign-out"
)
OPERATIONS = [
    (method.upper(), re.sub(r"\{(\w+)\}", lambda f: EXAMPLES.get(f[1], "1"), path), operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method in {"post", "put", "patch"} and path != "/api/v1/session"
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]


def models(kind=BaseModel):
    for model in kind.__subclasses__():
        if model.__module__.startswith("draw_"):
            yield model
        yield from models(model)


def fields():
    """Return the name of every field that any form has."""
    sources = [path.read_text(encoding="utf-8") for path in HANDLERS.glob("*.py")]
    read = re.compile(r'form\.(?:text|texts|exact|has|file)\("(\w+)"\)|\("(\w+)",')
    found = {name for source in sources for pair in read.findall(source) for name in pair if name}
    return sorted(found | {name for model in models() for name in model.model_fields})


FIELDS = fields()
NONSENSE = {
    "nul": "%00",
    "huge": "9" * 4500,
    "exponent": "1e999999",
    "other-digits": "%D9%A3%C2%B2",
    "markup": "%3Cscript%3E%27%22%26%7B%7B7*7%7D%7D",
}
CODINGS = ("undefined", "idna", "unicode_escape", "utf-16", "nothing")


def assert_answered(answer, *statuses):
    # 503: the broker of a loaded machine may be late.
    assert answer.status_code in (statuses or {*range(200, 500), 503}), answer.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.status_code >= 400:
        assert re.search(r"\w+ \w+", answer.text)


@pytest.fixture(scope="module")
def admin(shared_api):
    return shared_api.of_role("admin")


def counted(shared_api, name, **labels):
    return shared_api.api._registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True, scope="module")
def nothing_unexpected(shared_api):
    """None of this file's requests may fail for an unforeseen reason"""
    yield
    assert counted(shared_api, "draw_api_unexpected_failures_total") == 0


# --- forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
def test_no_form_fails_whatever_its_fields_hold(admin, value):
    token = admin.headers["X-CSRF-Token"]
    body = "&".join([f"csrf_token={token}", *(f"{name}={value}" for name in FIELDS)])
    for path in FORMS:
        answer = admin.post(
            path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert_answered(answer)
        if value == "%00" and path != "/sign-in":
            assert answer.status_code == 422


@pytest.mark.parametrize("coding", CODINGS)
def test_no_form_fails_in_whatever_encoding_it_says_to_be(admin, coding):
    token = admin.headers["X-CSRF-Token"]
    parts = [("csrf_token", token), ("reason", r"\ud800\x00" + "x" * 70), ("name", "+2AA-")]
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode(), text.encode())
        for name, text in parts
    )
    kind = f"multipart/form-data; boundary=b; charset={coding}".encode("latin-1")
    for path in ("/sign-in", "/studies/1.2.3/hold", "/api/v1/retrieves/csv?node_id=1", *FORMS[:3]):
        for end in (b"--b--\r\n", b""):
            answer = admin.post(path, content=body + end, headers={"Content-Type": kind})
            assert_answered(answer)
            assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        ("multipart/form-data; boundary=b", b"x" * 5000),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: " + b"y" * 50_000),
        ("multipart/form-data; boundary=b", b"--b\r\nX\0: \xff\r\n\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\n--b--"),
        ("multipart/form-data; boundary=" + "b" * 300, b"--" + b"b" * 300),
        ("application/x-www-form-urlencoded", b"&" * 60_000),
        ("application/x-www-form-urlencoded", b"a=1&" * 15_000),
        ("application/x-www-form-urlencoded", b"name=a&name=b&password=c&password=d&next=%00"),
        ("application/json", b'{"name": "a"}'),
        ("text/plain", b"\xff\xfe\0"),
        ("", b"name"),
    ],
)
def test_what_is_no_form_is_said_to_be_none(shared_api, admin, kind, content):
    headers = {"Content-Type": kind} if kind else {}
    for client in (shared_api.client(), admin):
        for path in ("/sign-in", "/nodes/new"):
            answer = client.post(path, content=content, headers=headers)
            assert_answered(answer)
            assert answer.status_code in {303, 400, 401, 403, 415, 422}


NAMES_OF_NOBODY = ("\0", "a\0b", "a\nb", "", " ", "x" * 65, "\x7f")


@pytest.mark.parametrize("name", NAMES_OF_NOBODY)
def test_a_name_that_nobody_can_have_is_refused_alike_on_the_page_and_over_rest(shared_api, name):
    client = shared_api.client()
    before = len(shared_api.actions())
    rest = client.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    page = client.post("/sign-in", data={"name": name, "password": PASSWORD})
    assert_answered(rest, 422)
    assert_answered(page, 422)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "ame" in page.text
    assert "Set-Cookie" not in page.headers
    assert len(shared_api.actions()) == before


def test_a_password_that_is_too_long_is_refused_alike_and_none_is_cut(shared_api):
    client = shared_api.client()
    asked = {"name": "admin", "password": PASSWORD + "x" * 200}
    assert_answered(client.post("/api/v1/session", json=asked), 422)
    assert_answered(client.post("/sign-in", data=asked), 422)


# --- documents ------------------------------------------------------------------------


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    return schema


def choices(operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = resolved(content.get("schema", {}))
    return [resolved(one) for one in schema.get("oneOf", schema.get("anyOf", [schema]))]


DOCUMENTS = (
    '"\\u0000"',
    '"\\ud800"',
    "9" * 4500,
    "1e999999",
    "-1",
    '["\\u0000"]',
    '{"\\u0000": 1}',
)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_no_operation_fails_whatever_its_document_holds(admin, method, path, operation):
    if "/retrieves/" in path and path.endswith("/retry"):
        return
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    for value in DOCUMENTS:
        for choice in choices(operation):
            kinds = choice.get("properties", {})
            body = ", ".join(
                f'"{name}": {json.dumps(given["const"]) if "const" in given else value}'
                for name, given in kinds.items()
            )
            answer = admin.request(method, path, content=f"{{{body}}}", headers=headers)
            assert_answered(answer)
    for raw in (b"\xff\xfe", b"[" * 30_000, b'{"a":' * 10_000, b"", b'{"a": 1, "a": 2}', b"\0"):
        assert_answered(admin.request(method, path, content=raw, headers=headers))
    for kind in ("text/plain", "application/json; charset=utf-16", "x", "multipart/form-data", ";"):
        answer = admin.request(method, path, content="{}", headers=headers | {"Content-Type": kind})
        assert_answered(answer)


# --- how much is read -----------------------------------------------------------------


class Piecewise:
    """A body in chunks of a megabyte, and how many of them were taken."""

    def __init__(self, pieces):
        self.pieces, self.taken = pieces, 0

    def __iter__(self):
        yield b"["
        for _ in range(self.pieces):
            self.taken += 1
            yield b'"' + b"x" * (1024**2 - 4) + b'",\n'


HUNDREDS = 300


def announced(api, client, path):
    """Return the answer to a request that says to bring hundreds of megabytes and brings none."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {HUNDREDS * 1024**2}\r\n"
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    head += f"Content-Type: application/json\r\nCookie: {cookies}\r\n\r\n["
    with socket.create_connection(("127.0.0.1", api.web.port), 60) as connection:
        connection.sendall(head.encode())
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


@pytest.mark.parametrize("role", [None, "viewer"])
def test_hundreds_of_megabytes_are_refused_unread(shared_api, role):
    client = shared_api.of_role(role) if role else shared_api.client()
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/session", "/sign-in", "/api/v1/retrieves", "/none"):
        assert_answered(announced(shared_api, client, path), 413)
    sent = Piecewise(HUNDREDS)
    answer = client.post("/api/v1/session", content=sent, headers=headers)
    assert_answered(answer, 413)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_much_is_taken_only_from_somebody_who_is_known(shared_api):
    body = json.dumps({"node_id": 1, "items": [{"study_instance_uid": "1.2"}] * 9000}).encode()
    assert USUAL_BYTES < len(body) < MAX_BYTES
    headers = {"Content-Type": "application/json"}
    for forged in ({}, {"Authorization": "Bearer draw_x"}, {"Cookie": "draw_session=x"}):
        answer = shared_api.client().post(
            "/api/v1/retrieves", content=body, headers=headers | forged
        )
        assert_answered(answer, 413)
        assert "not signed in" in answer.json()["detail"]
    operator = shared_api.of_role("operator")
    for content in (body, iter([body])):
        answer = operator.post("/api/v1/retrieves", content=content, headers=headers)
        assert_answered(answer, 422)
        assert answer.json()["errors"][0]["field"] == "node_id"


# --- headers and counts ---------------------------------------------------------------

FAILURES = [
    ("GET", "/nothing", 404), ("GET", "/api/v1/nothing", 404), ("GET", "/static/nothing.js", 404),
    ("GET", "/static/..%2f..%2fapp.py", 404), ("GET", "/static/", 404), ("PUT", "/studies", 405),
    ("POST", "/static/js/app.js", 405), ("BREW", "/", 405), ("DELETE", "/livez", 405),
    ("GET", "/api/v1/studies?x=1", 422), ("GET", "/api/v1/studies", 401),
    ("GET", "/%00", 404), ("GET", "/%ff%fe", 404),
    ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/api/v1/openapi.json", 200),
    ("GET", "/sign-in?next=%00%ff", 200), ("OPTIONS", "/api/v1/studies", 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), FAILURES)
def test_every_answer_has_the_headers_that_protect_browsers(shared_api, method, path, status):
    assert_answered(shared_api.client().request(method, path), status)


def test_files_that_everybody_may_see_are_all_that_is_kept(shared_api):
    answer = shared_api.client().get("/static/js/app.js")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


PLACES = {"/api/v1/storage": "application/problem+json", "/storage": "text/html"}


def test_a_failure_that_nobody_foresaw_is_counted_and_answered_like_the_rest(api):
    """As when somebody has renamed a column, on an API of its own."""
    admin = api.of_role("admin")
    with api.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE instance_conflicts RENAME COLUMN size_bytes TO b"))
    for path, kind in PLACES.items():
        with capture_logs() as lines:
            answer = admin.get(path)
        assert [line["event"] for line in lines] == ["request.failed"]
        assert_answered(answer, 500)
        assert answer.headers["Content-Type"].startswith(kind)
        assert "Something unexpected happened" in answer.text
        assert "instance_conflicts" not in answer.text
        labels = {"method": "GET", "route": path, "status": "500"}
        assert counted(api, "draw_api_requests_total", **labels) == 1
    # It is counted when the answer has been sent.
    unexpected = "draw_api_unexpected_failures_total"
    assert wait_until(lambda: counted(api, unexpected) == len(PLACES), 60)
