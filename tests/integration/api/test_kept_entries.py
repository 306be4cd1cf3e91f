"""Without JavaScript: what was typed survives the end of a session, an old form, and a reload."""

import html
import re

import pytest
from fastapi.routing import APIRoute

from draw_api.handlers.web.site import ROUTERS
from draw_shared.web.identity import COOKIE
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


@pytest.mark.parametrize("length", [60_000, 200_000])
def test_too_much_to_keep_is_said(browser, length):
    browser.cookies.delete(COOKIE)
    answer = browser.post("/batches/preview", data={"text": "x" * length})
    assert answer.status_code == 401
    assert "too much to keep" in answer.text
    assert 'name="next" value="/batches/preview"' in answer.text


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
    german.put("/api/v1/me/language", json={"language": "de"}).raise_for_status()
    nowhere = german.get("/nowhere")
    assert nowhere.status_code == 404
    assert "Unter dieser Adresse gibt es nichts." in nowhere.text
    assert 'href="/studies"' in nowhere.text
    stranger = shared_api.client().get("/nowhere", headers={"Cookie": f"{COOKIE}=nobody"})
    assert stranger.status_code == 404
    assert "There is nothing at this address." in stranger.text
    for path in ("/jobs/x", "/patients/0", "/nodes/99999999999999999999"):
        answer = german.get(path)
        assert answer.status_code == 404
        assert "Unter dieser Adresse gibt es nichts." in answer.text
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


def saved_by(client):
    return client.get("/api/v1/saved-queries", params={"limit": 200}).json()["items"]


def filled_in(page):
    """Return what the form of a query has in its fields."""
    form = re.search(r'<form method="post" action="/queries/new" class.*?</form>', page, re.DOTALL)
    found = {}
    for tag in re.findall(r"<input [^>]*>", form[0]):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            found[given["name"]] = html.unescape(given.get("value", "on"))
    chosen = r'<select id="[^"]*" name="([^"]*)">.*?value="([^"]*)" selected'
    return found | dict(re.findall(chosen, form[0], re.DOTALL))


def test_a_saved_query_is_edited_without_loss_and_not_over_another_change(shared_api):
    admin = shared_api.of_role("admin")
    node = admin.post(
        "/api/v1/nodes", json={**NODE, "port": 104, "name": "asked", "windows": []}
    ).json()["id"]
    keys = {"ModalitiesInStudy": "CT", "BodyPartExamined": "HEAD", "StationName": ""}
    query = {"keys": keys, "node_ids": [node], "limit": 7, "study_dates": "today"}
    saved = {"name": "whole", "shared": True, "query": query | {"zone": "Pacific/Auckland"}}
    admin.post("/api/v1/saved-queries", json=saved).raise_for_status()

    def opened():
        shown = html.unescape(admin.get("/queries").text)
        return filled_in(
            admin.get(re.search(r'"(/queries/new[?]saved=whole[^"]*)"', shown)[1]).text
        )

    one, other = opened(), opened()
    answer = admin.post("/queries/saved", data=one | {"ModalitiesInStudy": "MR", "zone": "UTC"})
    assert answer.status_code == 303
    [now] = [row for row in saved_by(admin) if row["name"] == "whole"]
    assert now["keys"] == keys | {"ModalitiesInStudy": "MR"}
    assert (now["limit"], now["zone"], now["shared"]) == (7, "Pacific/Auckland", True)

    refused = admin.post("/queries/saved", data=other | {"StationName": "typed"})
    assert refused.status_code == 422
    assert "You have another saved query of this name" in refused.text
    assert saved_by(admin)[0]["keys"] == now["keys"]
    assert admin.post("/queries/saved", data=filled_in(refused.text)).status_code == 303
    new = {"saved_name": "whole", "ModalitiesInStudy": "US", "node_id": str(node)}
    assert admin.post("/queries/saved", data=new).status_code == 422


def test_the_saved_query_that_is_one_too_many_stays_in_its_form_and_all_are_listed(shared_api):
    operator = shared_api.of_role("operator")
    admin = shared_api.of_role("admin")
    node = admin.post(
        "/api/v1/nodes", json={**NODE, "port": 104, "name": "full", "windows": []}
    ).json()["id"]
    for number in range(100):
        saved = {"name": f"q {number:03}", "query": {"node_ids": [node], "keys": {}}}
        operator.post("/api/v1/saved-queries", json=saved).raise_for_status()
    typed = {"saved_name": "q 100", "PatientName": "Typed^Long", "node_id": str(node)}
    refused = operator.post("/queries/saved", data=typed)
    assert refused.status_code == 422
    assert "Nobody may save more than 100 queries" in refused.text
    assert filled_in(refused.text)["PatientName"] == "Typed^Long"
    own = [row for row in saved_by(operator) if row["owner"] == "operator"]
    assert len(own) == 100

    address, shown = "/queries/saved", []
    while address:
        page = operator.get(address).text
        shown += re.findall(r'<th scope="row"><bdi>(q \d+)</bdi>', page)
        onward = re.search(r'rel="next" href="([^"]+)"', page)
        address = html.unescape(onward[1]) if onward else ""
    assert shown == [f"q {number:03}" for number in range(100)]


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
