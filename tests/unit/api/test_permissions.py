"""One table decides who may do what: every route names one permission of it, and no role.

That routes behave so, for every role, session and token, is seen in
tests/integration/api/test_permissions.py.
"""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

import draw_api
from draw_dicomweb.app import DicomWeb
from draw_dicomweb.handlers.guards import Guarded
from draw_dicomweb.settings import DicomwebSettings
from draw_shared.access.permissions import RULES, Permission, may
from draw_shared.access.principals import RANKS, Principal, Role
from draw_shared.web.identity import permission_of
from support.api import NO_BROKER, offline_application

ROUTES = [found.original_route for found in iter_route_contexts(offline_application().routes)]
OURS = [route for route in ROUTES if isinstance(route, APIRoute)]
PAGES = [route for route in OURS if ".handlers.web." in route.endpoint.__module__]
REST = [route for route in OURS if ".handlers.rest." in route.endpoint.__module__]
HOME = Path(draw_api.__file__).parent
TEMPLATES = sorted((HOME / "templates").rglob("*.jinja"))
HANDLERS = sorted((HOME / "handlers").rglob("*.py"))


def named(route):
    return f"{'/'.join(route.methods)} {route.path}"


def test_every_route_names_one_permission():
    assert [route.path for route in ROUTES if not isinstance(route, APIRoute)] == ["/static"]
    assert all(isinstance(route, APIRoute | Mount) for route in ROUTES)
    assert [named(route) for route in OURS if permission_of(route.dependant) is None] == []
    assert len(PAGES) > 80
    assert len(REST) > 80


def of_dicomweb():
    """Return the permissions that the addresses of DICOMweb name."""
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    settings = DicomwebSettings(
        database_url=nowhere, broker_url=NO_BROKER, storage_root=Path("/none")
    )
    found = [getattr(route, "app", None) for route in DicomWeb(settings).application().routes]
    guards = [one for app in found for one in getattr(app, "endpoints", [app])]
    return {guard.permission for guard in guards if isinstance(guard, Guarded)}


def test_every_permission_has_a_rule_and_a_route():
    assert list(RULES) == list(Permission)
    used = {permission_of(route.dependant) for route in OURS} | of_dicomweb()
    # Use cases ask for these: the routes are the same as without them.
    in_use_cases = {
        Permission.READ_ALL_CREDENTIALS,
        Permission.END_ALL_CREDENTIALS,
        Permission.REMOVE_ALL_SAVED_QUERIES,
        Permission.READ_DELETIONS,
    }
    assert used == set(Permission) - in_use_cases


@pytest.mark.parametrize("rule", RULES.values(), ids=[str(one) for one in RULES])
def test_what_is_open_to_everybody_is_not_for_persons_only(rule):
    assert rule.what
    assert not (rule.role is None and rule.persons_only)


def test_a_token_may_nothing_with_credentials():
    program = Principal(1, "curie", Role.ADMIN, "", token_name="report")
    refused = {one for one in Permission if not may(program, one)}
    assert refused == {
        Permission.CHANGE_OWN_PASSWORD,
        Permission.END_OWN_CREDENTIALS,
        Permission.END_ALL_CREDENTIALS,
        Permission.MAKE_TOKENS,
        Permission.MANAGE_USERS,
    }


# --- REST and page --------------------------------------------------------------------


class UseCases(ast.NodeVisitor):
    """Which use cases a route calls, with what permission, and whether on somebody's behalf."""

    def __init__(self, functions, permission):
        self.functions = functions
        self.permission = permission
        self.acting, self.reading = [], []
        self._seen = set()

    def visit_IfExp(self, node):
        said = ast.unparse(node.test)
        inner = re.fullmatch(r"may\(by, Permission\.(\w+)\)", said)
        outer = self.permission
        self.permission = Permission[inner[1]] if inner else outer
        self.visit(node.body)
        self.permission = outer
        self.visit(node.orelse)

    def visit_Call(self, node):
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if found := re.fullmatch(r"work\.(\w+\.\w+)", called):
            first = ast.unparse(node.args[0]) if node.args else ""
            into = self.acting if first in {"by", "act.by"} else self.reading
            into.append((found[1], self.permission))
        elif called in self.functions and called not in self._seen:
            self._seen.add(called)
            self.visit(self.functions[called])


def use_cases(route):
    module = ast.parse(inspect.getsource(inspect.getmodule(route.endpoint)))
    functions = {f.name: f for f in module.body if isinstance(f, ast.FunctionDef)}
    functions |= {f.name: f for f in module.body if isinstance(f, ast.AsyncFunctionDef)}
    found = UseCases(functions, permission_of(route.dependant))
    found.visit(functions[route.endpoint.__name__])
    return found


WITHIN_A_FORM = "POST /routing/rule/try"
"""Answers with the form of a rule again, which only those have who may change rules."""


def test_who_does_the_same_needs_the_same_on_page_and_rest():
    needed = defaultdict(lambda: defaultdict(list))
    for route in OURS:
        for use_case, permission in use_cases(route).acting if route in PAGES + REST else ():
            if named(route) != WITHIN_A_FORM:
                needed[use_case][permission].append(named(route))
    assert len(needed) > 30
    assert {use_case: dict(ways) for use_case, ways in needed.items() if len(ways) > 1} == {}


def test_no_page_shows_what_rest_would_not_show():
    rank = {permission: RANKS.get(rule.role, -1) for permission, rule in RULES.items()}
    least = {}
    for route in REST:
        for use_case, permission in use_cases(route).reading:
            least[use_case] = min(least.get(use_case, 9), rank[permission])
    shown = [
        (named(route), use_case)
        for route in PAGES
        for use_case, permission in use_cases(route).reading
        if rank[permission] < least.get(use_case, -1)
    ]
    assert shown == []


def test_who_is_shown_a_form_may_send_it():
    ways = {(method, route.path): route for route in PAGES for method in route.methods}
    both = [(ways["GET", path], route) for (method, path), route in ways.items()
            if method == "POST" and ("GET", path) in ways]  # fmt: skip
    # The configuration is shown to all, without its buttons; a user's page has two forms.
    unlike = [
        post.path
        for get, post in both
        if permission_of(get.dependant) is not permission_of(post.dependant)
    ]
    assert unlike == ["/config"]


# --- no second place ------------------------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=[path.name for path in TEMPLATES])
def test_templates_ask_for_permissions(path):
    asked = re.findall(r"frame\.may\(([^)]*)\)", path.read_text())
    assert {one.strip('"') for one in asked} <= {str(one) for one in Permission}


@pytest.mark.parametrize("path", HANDLERS, ids=[path.name for path in HANDLERS])
def test_no_handler_names_a_role(path):
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "Role" not in names
