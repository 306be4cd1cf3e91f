"""Every route does what the table of permissions says, for every role, session and token.

That each route names a permission is seen in tests/unit/api/test_permissions.py.
"""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match

from draw_shared.access.permissions import RULES, Permission, may
from draw_shared.access.principals import Principal, Role
from draw_shared.web.identity import permission_of
from support import datasets
from support.api import offline_application
from support.indexed import IndexedStorage
from support.receptions import same_instance

pytestmark = [pytest.mark.integration, pytest.mark.security]

ROUTES = [
    found.original_route
    for found in iter_route_contexts(offline_application().routes)
    if isinstance(found.original_route, APIRoute)
]
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
# Nothing has these numbers, so that nothing is changed before the next one asks.
EXAMPLES = {
    "study_instance_uid": "1.2.3", "series_instance_uid": "1.2.4", "sop_instance_uid": "1.2.5",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "query_id": "00000000-0000-4000-8000-000000000000",
    "service": "scp", "action": "start", "queue": "indexer.dead", "key": "0" * 24,
    "session_id": "6f1c0a9d52b34e8f7a61b2c3",
}  # fmt: skip
NO_ROW = "999999"
MOST_OF_A_KIND = 3
ENDING = {"/api/v1/session", "/sign-out"}


def is_page(route):
    return ".handlers.web." in route.endpoint.__module__


def filled(path):
    return re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], NO_ROW), path)


class Asker:
    """One of a role who asks, by session or token; nobody when of none."""

    def __init__(self, client, role=None, *, token=False):
        self.client, self.role, self.token = client, role, token

    def allowed(self, route):
        permission = permission_of(route.dependant)
        if RULES[permission].role is None:
            return True
        if self.role is None or (self.token and is_page(route)):
            return False
        name = "a token" if self.token else None
        return may(Principal(1, "x", self.role, "", token_name=name), permission)

    def was_let_in(self, route, method):
        csrf = self.client.headers.get("X-CSRF-Token", "")
        form = {"csrf_token": csrf} if is_page(route) and method in UNSAFE else None
        with self.client.stream(method, filled(route.path), data=form) as answer:
            if answer.headers.get("Location", "").startswith("/sign-in"):
                return "signed-out" in answer.headers.get("Set-Cookie", "")
            return answer.status_code not in {401, 403}


@pytest.fixture(scope="module")
def browsers(shared_api):
    """A signed-in browser of each role."""
    return {role: shared_api.of_role(role) for role in Role}


BY = {"nobody": (None, False)} | {
    f"{role} by {'token' if token else 'session'}": (role, token)
    for role in Role
    for token in (False, True)
}


@pytest.mark.parametrize(("role", "token"), BY.values(), ids=BY)
def test_every_route_lets_in_whom_the_table_lets_in(shared_api, browsers, role, token):
    client = shared_api.client() if token or role is None else browsers[role]
    if token:
        client.headers["Authorization"] = f"Bearer {shared_api.token(role)}"
    asker = Asker(client, role, token=token)
    wrong = []
    for route in ROUTES:
        # Signing in without a name is refused as a wrong name is.
        if permission_of(route.dependant) is Permission.SIGN_IN:
            continue
        if route.path in ENDING and role and not token:
            asker.client = shared_api.with_session(role)
        wrong += [
            f"{method} {route.path}"
            for method in sorted(route.methods)
            if asker.was_let_in(route, method) != asker.allowed(route)
        ]
        asker.client = client
    assert wrong == []


# --- what the page offers -------------------------------------------------------------


class Offers(HTMLParser):
    """What a page leads to and what its forms send."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "form":
            self.found.add((said.get("method", "get").upper(), said.get("action", "")))
        if "formaction" in said:
            self.found.add(("POST", said["formaction"]))
        leads = [said.get("data-live", ""), said.get("href", "") if tag == "a" else ""]
        self.found |= {("GET", path) for path in leads if path.startswith("/")}


def route_of(method, path):
    scope = {"type": "http", "path": urlsplit(path).path, "method": method, "root_path": ""}
    return next((route for route in ROUTES if route.matches(scope)[0] is Match.FULL), None)


@pytest.fixture(scope="module")
def furnished(shared_api, browsers):
    """One of everything that a page can show."""
    archive = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    held, free = datasets.series(2), datasets.series(1)
    archive.receive(*held, *free)
    archive.receive(same_instance(free[0], StudyInstanceUID=held[0].StudyInstanceUID))
    archive.close()
    admin = browsers[Role.ADMIN]

    def put(method, path, **body):
        answer = admin.request(method, f"/api/v1/{path}", json=body, headers={"If-Match": "*"})
        return answer.raise_for_status().json() if answer.content else None

    put("PUT", f"studies/{held[0].StudyInstanceUID}/hold", reason="because")
    node = put("POST", "nodes", name="pacs", ae_title="PACS", host="127.0.0.1", port=1)["id"]
    keys = {"level": "STUDY", "keys": {"PatientID": "1"}}
    put("POST", "queries", node_ids=[node], **keys)
    item = {"study_instance_uid": free[0].StudyInstanceUID}
    put("POST", "retrieves", node_id=node, items=[item])
    put("POST", f"nodes/{node}/test")
    put("POST", "ae-titles", ae_title="CT_1")
    put("POST", "webhooks", url="https://hooks.example.org/")
    put("POST", "tokens", name="report", role="viewer")
    put("PATCH", "config", network={"max_associations": 25})
    return shared_api


@pytest.mark.parametrize("role", list(Role))
def test_a_page_offers_nothing_that_is_refused(furnished, browsers, role):
    asker = Asker(furnished.with_session(role), role)
    ways, looked, refused, posts = ["/"], set(), set(), set()
    seen = Counter()
    while ways:
        path = ways.pop(0)
        answer = asker.client.get(path)
        assert answer.status_code == 200, path
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        for method, target in sorted(Offers(answer.text).found):
            route = route_of(method, target or path)
            assert route is not None, (path, method, target)
            if not asker.allowed(route):
                refused.add((path, method, target))
            posts |= {route.path} if method == "POST" else set()
            streamed = route.path.startswith("/live/")
            if method == "GET" and not streamed and target not in looked:
                seen[route.path] += 1
                looked.add(target)
                ways += [target] if seen[route.path] <= MOST_OF_A_KIND else []
    assert refused == set()
    assert ("/studies/{study_instance_uid}/delete" in seen) == (role is Role.ADMIN)
    least = {Role.VIEWER: 20, Role.OPERATOR: 35, Role.ADMIN: 45}
    assert len(seen) > least[role]
    assert ("/nodes/{node_id}/test" in posts) == (role is not Role.VIEWER)
