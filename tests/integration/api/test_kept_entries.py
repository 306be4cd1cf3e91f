"""Without JavaScript: what was typed survives the end of a session, an old form, and a reload."""

import html
import re

import pytest
from fastapi.routing import APIRoute

from draw_api.handlers.identity import COOKIE
from draw_api.handlers.web.site import ROUTERS
from integration.api.test_web_access import EXAMPLES, PAGES, filled, parameters_of
from support.api import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.security]

ELSEWHERE = {"Origin": "https://evil.example"}
NODE = {
    "name": 'kept \N{GREEK SMALL LETTER OMEGA}"<b>', "ae_title": "KEPT", "host": "127.0.0.1",
    "port": "104", "windows": "mon-fri 22:00-06:00\r\nsat 10:00-12:00",
}  # fmt: skip


@pytest.fixture
def browser(shared_api):
    """A browser without JavaScript, signed in on the page."""
    shared_api.of_role("admin")
    shared_api.of_role("operator")
    client = shared_api.client()
    signed_in(client)
    return client


def signed_in(client, name="admin", **more):
    return client.post("/sign-in", data={"name": name, "password": PASSWORD, **more})


def token_of(page):
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def form_of(page, action):
    """Return the hidden fields of the form that leads to an address."""
    there = re.escape(html.escape(action))
    form = re.search(rf'<form[^>]* action="{there}".*?</form>', page, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
    found = {}
    for name, value in hidden:
        found.setdefault(html.unescape(name), []).append(html.unescape(value))
    return found


def nodes(client):
    return [one["name"] for one in client.get("/api/v1/nodes").json()["items"]]


def test_what_was_typed_survives_the_end_of_the_session(browser):
    late = {**NODE, "csrf_token": token_of(browser.get("/nodes/new").text)}
    browser.cookies.delete(COOKIE)
    asked = browser.post("/nodes/new", data=late)
    assert asked.status_code == 401
    assert "What you typed is kept" in asked.text
    carried = form_of(asked.text, "/sign-in")
    assert late["csrf_token"] not in asked.text

    wrong = browser.post("/sign-in", data={**carried, "name": "admin", "password": "wrong"})
    assert form_of(wrong.text, "/sign-in") == carried
    shown = browser.post("/sign-in", data={**carried, "name": "operator", "password": PASSWORD})
    assert shown.status_code == 200
    assert "operator" in shown.text
    assert "kept \N{GREEK SMALL LETTER OMEGA}" in shown.text
    assert NODE["name"] not in nodes(browser)
    again = form_of(shown.text, "/nodes/new")
    assert again["windows"] == [NODE["windows"]]
    assert browser.post("/nodes/new", data=again).status_code == 303
    assert NODE["name"] in nodes(browser)


def test_what_was_typed_survives_a_newer_sign_in(browser):
    late = {**NODE, "name": "kept twice", "csrf_token": token_of(browser.get("/nodes/new").text)}
    signed_in(browser)
    shown = browser.post("/nodes/new", data=late)
    assert shown.status_code == 403
    assert "kept twice" not in nodes(browser)
    again = form_of(shown.text, "/nodes/new")
    assert again["csrf_token"] != late["csrf_token"]
    assert browser.post("/nodes/new", data=again).status_code == 303
    assert "kept twice" in nodes(browser)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "old"])
def test_another_site_puts_nothing_into_our_forms(browser, ended):
    if ended:
        browser.cookies.delete(COOKIE)
    answer = browser.post("/nodes/new", data={**NODE, "name": "foreign"}, headers=ELSEWHERE)
    assert answer.status_code == (303 if ended else 403)
    assert "foreign" not in answer.text


@pytest.mark.parametrize(
    "kept",
    [
        "", "{", "[]", '{"action": "//evil.example", "fields": []}', "x" * 50_000,
        '{"action": "https://evil.example/", "fields": [["a", "b"]]}',
        '{"action": "/api/v1/nodes", "fields": [["a", "b"]]}',
    ],
    ids=range(7),
)  # fmt: skip
def test_nothing_strange_is_taken_for_entries(browser, kept):
    assert signed_in(browser, kept=kept).status_code == 303


def test_secrets_and_files_are_given_again(browser):
    typed = {"name": "kept.user", "role": "viewer", "password": "never to be shown"}
    shown = browser.post("/users/new", data=typed)
    assert shown.status_code == 403
    assert "never to be shown" not in shown.text
    assert "password" not in form_of(shown.text, "/users/new")
    assert re.search(r'name="password" type="password" required', shown.text)

    shown = browser.post("/batches/preview", files={"file": ("list.csv", b"kept")}, data={"a": "b"})
    assert re.search(r'name="file" type="file" required', shown.text)


def test_a_question_that_was_answered_is_asked_again(browser):
    typed = {"study": ["1.2.3", "1.2.4"], "reason": "wrong patient", "confirmed": "yes"}
    shown = browser.post("/selection/delete", data=typed)
    again = form_of(shown.text, "/selection/delete")
    assert again["study"] == ["1.2.3", "1.2.4"]
    assert "confirmed" not in again
    asked = browser.post("/selection/delete", data=again)
    assert 'value="wrong patient"' in asked.text


def test_too_much_to_keep_is_said(browser):
    browser.cookies.delete(COOKIE)
    answer = browser.post("/batches/preview", data={"text": "x" * 60_000})
    assert answer.status_code == 401
    assert "too much to keep" in answer.text


def test_unusable_characters_cost_only_themselves(browser):
    typed = {"study": "1.2.3", "reason": "wrong\0 patient"}
    token = token_of(browser.get("/nodes/new").text)
    shown = browser.post("/selection/hold", data={**typed, "csrf_token": token})
    assert shown.status_code == 422
    assert form_of(shown.text, "/selection/hold")["reason"] == ["wrong patient"]


@pytest.mark.parametrize("action", ["send", "hold", "delete", "download"])
def test_too_many_studies_are_said_in_words_and_the_first_stay_selected(shared_api, action):
    admin = shared_api.of_role("admin")
    studies = [f"1.2.{number}" for number in range(5000)]
    answer = admin.post(
        f"/selection/{action}",
        data={"study": studies, "confirmed": "yes", "reason": "because", "node_id": "1"},
    )
    assert answer.status_code == (409 if action == "download" else 422)
    assert "5,000 studies are selected, but at most 100 can be at a time" in answer.text
    if action != "download":
        assert form_of(answer.text, f"/selection/{action}")["study"] == studies[:100]
    more = admin.post(f"/selection/{action}", data={"study": ["1"] * 20_001})
    assert more.status_code == 400
    assert "A form has at most 20000 fields" in more.text


def test_a_node_has_to_be_chosen(shared_api):
    admin = shared_api.of_role("admin")
    admin.post("/api/v1/nodes", json={**NODE, "port": 104, "name": "chosen", "windows": []})
    typed = {"study": ["1.2.3"], "confirmed": "yes", "node_id": ""}
    answer = admin.post("/selection/send", data=typed)
    assert answer.status_code == 422
    assert "Choose a node." in answer.text
    assert form_of(answer.text, "/selection/send")["study"] == ["1.2.3"]
    assert "Choose a node." in admin.post("/studies/1.2.3/send", data={}).text


@pytest.mark.parametrize(
    ("back", "shown"),
    [
        ("/studies?search=x&cursor=1", "/studies?search=x&amp;cursor=1"),
        ("/patients/abc", "/patients/abc"),
        ("/studiesX", "/studies"),
        ("/studies/../users", "/studies"),
        ("/patients/%2e%2e/users", "/studies"),
        ("//evil.example/studies", "/studies"),
        ("/patients/\\evil", "/studies"),
        ("/users", "/studies"),
    ],
)
def test_one_goes_back_only_to_a_list_of_studies(shared_api, back, shown):
    admin = shared_api.of_role("admin")
    answer = admin.post("/selection/hold", data={"study": "1.2.3", "back": back})
    assert f'<a class="button" href="{shown}">' in answer.text


def test_what_cannot_be_shown_is_said_in_the_language_of_the_visitor(shared_api):
    german = shared_api.of_role("viewer")
    german.headers["Accept-Language"] = "de"
    nowhere = german.get("/nowhere")
    assert nowhere.status_code == 404
    assert "Unter dieser Adresse gibt es nichts." in nowhere.text
    wrong = german.get("/jobs", params={"cursor": "x" * 500})
    assert wrong.status_code == 422
    assert "<strong>Seite der Liste</strong>: " in wrong.text
    assert german.delete("/studies").status_code == 405
    assert "An dieser Adresse" in german.delete("/studies").text


def test_every_parameter_of_a_page_has_a_name(shared_api):
    admin = shared_api.of_role("admin")
    for route in PAGES:
        for name in parameters_of(route.dependant) if "GET" in route.methods else ():
            if not route.path.startswith("/live"):
                answer = admin.get(f"{filled(route.path)}?{name}=%00")
                assert f"<strong>{name}</strong>" not in answer.text


FORMS = sorted(
    filled(route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "POST" in route.methods
)


def test_the_address_of_every_form_can_be_loaded_again(shared_api):
    admin = shared_api.of_role("admin")
    there = admin.post("/api/v1/nodes", json={**NODE, "port": 104, "name": "1st", "windows": []})
    assert there.status_code == 201
    for path in FORMS:
        answer = admin.get(path, follow_redirects=True)
        gone = any(f"/{one}" in path for one in ("1", *EXAMPLES.values()))
        assert answer.status_code == 200 or (gone and answer.status_code == 404), path
