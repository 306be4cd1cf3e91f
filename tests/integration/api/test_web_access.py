"""Every route of the web page: who is not signed in sees nothing, and no form lacks its token.

What the pages show is covered by the e2e tests.
"""

import re
from collections import Counter

import pytest
from fastapi.routing import APIRoute

from draw_api.handlers.web.site import ROUTERS
from support.api import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.security]

OPEN = ("/sign-in",)
EXAMPLES = {
    "study_instance_uid": "1.2.3", "series_instance_uid": "1.2.4", "sop_instance_uid": "1.2.5",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "query_id": "00000000-0000-4000-8000-000000000000",
    "service": "scp", "action": "stop", "queue": "indexer.dead", "key": "0" * 24,
    "session_id": "6f1c0a9d52b34e8f7a61b2c3",
}  # fmt: skip
PAGES = [
    route
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.path not in OPEN
]
NONSENSE = ("%00", "9999-12-31", "0001-01-01", "9" * 40, "%C2%B2")


def filled(path):
    return re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "1"), path)


ROUTES = sorted((method, filled(route.path)) for route in PAGES for method in route.methods)
CHANGING = [path for method, path in ROUTES if method == "POST"]


def test_there_are_routes():
    assert len(ROUTES) > 80
    assert {method for method, _ in ROUTES} == {"GET", "POST"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_is_not_signed_in_is_sent_to_sign_in(shared_api, method, path):
    answer = shared_api.client().request(method, path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in")


@pytest.fixture(scope="module")
def admin(shared_api):
    client = shared_api.with_session("admin")
    del client.headers["X-CSRF-Token"]
    return client


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("token", [None, "", "wrong"], ids=["none", "empty", "wrong"])
def test_no_form_works_without_its_token(admin, path, token):
    sent = {} if token is None else {"csrf_token": token}
    answer = admin.post(path, data={"reason": "because", **sent})
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")


def parameters_of(dependant):
    """Yield the names that an address of a page may have."""
    yield from (one.alias for one in dependant.query_params)
    for inner in dependant.dependencies:
        yield from parameters_of(inner)


def test_no_address_makes_a_page_fail(shared_api):
    admin = shared_api.signed_in("admin")
    form = {"csrf_token": admin.headers["X-CSRF-Token"], "reason": "because"}
    answers = Counter()
    for route in PAGES:
        method = next(iter(route.methods))
        there = filled(route.path)
        names = parameters_of(route.dependant) if not route.path.startswith("/live") else ()
        wrong = [f"{there}?{name}={value}" for name in names for value in NONSENSE]
        for name in re.findall(r"\{(\w+)", route.path):
            other = re.sub(rf"\{{{name}[^}}]*\}}", "{}", route.path)
            wrong += [filled(other.replace("{}", value)) for value in NONSENSE]
        for address in wrong:
            answer = admin.request(method, address, data=form if method == "POST" else None)
            assert answer.status_code < 500, (method, address)
            answers[answer.status_code] += 1
    assert sum(answers.values()) > 400


def test_bearer_tokens_do_not_open_the_page(shared_api):
    headers = {"Authorization": f"Bearer {shared_api.token()}"}
    assert shared_api.client().get("/studies", headers=headers).status_code == 303


def signing_in(client, path, headers):
    """Return the answer to a right name and password that a browser sends with these headers."""
    known = {"name": "admin", "password": PASSWORD}
    if path == "/sign-in":
        return client.post(path, data=known, headers=headers)
    return client.post(path, json=known, headers=headers)


SIGN_INS = ("/sign-in", "/api/v1/session")


@pytest.mark.parametrize("path", SIGN_INS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://{host}.evil.example"},
        {"Origin": "http://{host}:1"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "ftp://{host}"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
    ],
    ids=str,
)
def test_other_sites_cannot_sign_anybody_in(shared_api, path, headers):
    client = shared_api.client()
    host = client.base_url.netloc.decode()
    said = {name: value.format(host=host) for name, value in headers.items()}
    answer = signing_in(client, path, said)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", SIGN_INS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://{host}"},
        {"Origin": "https://{host}"},
        {"Origin": "https://draw.example", "Host": "draw.example"},
        {"Origin": "https://draw.example", "Host": "draw.example:443"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://where.a.proxy.rewrites"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_our_own_page_and_programs_sign_in(shared_api, path, headers):
    client = shared_api.client()
    host = client.base_url.netloc.decode()
    said = {name: value.format(host=host) for name, value in headers.items()}
    assert signing_in(client, path, said).status_code in {201, 303}


def test_the_cookie_cannot_be_read_or_sent_by_other_sites(shared_api):
    answer = shared_api.client().post("/sign-in", data={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_large_form_is_refused_before_it_is_read(admin):
    answer = admin.post("/batches/preview", content=b"x" * (5 * 1024**2))
    assert answer.status_code == 413

    def pieces():
        yield b"csrf_token=x"

    assert admin.post("/batches/preview", content=pieces()).status_code == 411


def test_the_page_runs_no_foreign_script(shared_api, admin):
    answer = admin.get("/studies")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    static = shared_api.client().get(re.search(r'href="(/static/css[^"]+)"', answer.text)[1])
    assert static.headers["Cache-Control"].endswith("immutable")


def test_a_fragment_is_not_a_page(admin):
    answer = admin.get("/studies", headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    assert answer.headers["Vary"] == "HX-Request"
