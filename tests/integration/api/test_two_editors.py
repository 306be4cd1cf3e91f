"""Forms in two tabs: a change of somebody else is neither lost nor overwritten unseen."""

import html
import re

import pytest

pytestmark = pytest.mark.integration

TITLE = {"ae_title": "TWICE", "description": "first", "rights": ["store"]}
WEBHOOK = {"url": "https://one.example/", "description": "first", "kinds": ["study.stable"]}
NODE = {"name": "twice", "ae_title": "TWICE", "host": "127.0.0.1", "port": 104}
USER = {"name": "twice", "role": "viewer"}


def fields(page):
    """Return the fields of the first form of a page that has an address of its own."""
    form = re.search(r'<form class="(?:card|stack)[^"]*" method="post".*?</form>', page, re.DOTALL)[
        0
    ]
    found = []
    for tag in re.findall(r"<input [^>]*>", form):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        ticked = " checked" in tag or given.get("type") != "checkbox"
        if "name" in given and ticked:
            found.append((given["name"], html.unescape(given.get("value", "on"))))
    texts = re.findall(r'<textarea id="[^"]*" name="([^"]*)"[^>]*>([^<]*)</textarea>', form)
    choices = re.findall(
        r'<select id="[^"]*" name="([^"]*)".*?value="([^"]*)" selected', form, re.DOTALL
    )
    return dict(choices) | {name: html.unescape(text) for name, text in texts}, found


def sent(page, **typed):
    simple, several = fields(page)
    lists = {
        one: [value for name, value in several if name == one]
        for one, _ in several
        if one in {"rights", "kinds"}
    }
    return simple | dict(several) | lists | typed


@pytest.fixture
def admin(shared_api):
    return shared_api.of_role("admin")


@pytest.mark.parametrize(
    ("rest", "page", "settings", "field"),
    [
        ("ae-titles", "/ae-titles/{id}", TITLE, "description"),
        ("nodes", "/nodes/{id}/edit", NODE, "name"),
        ("webhooks", "/webhooks/{id}/edit", WEBHOOK, "description"),
    ],
)
def test_the_second_of_two_editors_is_told_and_keeps_what_was_typed(
    admin, rest, page, settings, field
):
    made = admin.post(f"/api/v1/{rest}", json=settings).raise_for_status().json()
    here = page.format(id=made["id"])
    one, other = admin.get(here).text, admin.get(here).text
    assert admin.post(here, data=sent(one, **{field: "by one"})).status_code == 303
    refused = admin.post(here, data=sent(other, **{field: "by another"}))
    assert refused.status_code == 422
    assert "Somebody else has changed this meanwhile" in refused.text
    assert admin.get(f"/api/v1/{rest}/{made['id']}").json()[field] == "by one"
    assert admin.post(here, data=sent(refused.text)).status_code == 303
    assert admin.get(f"/api/v1/{rest}/{made['id']}").json()[field] == "by another"

    late = admin.get(here).text
    admin.delete(f"/api/v1/{rest}/{made['id']}").raise_for_status()
    gone = admin.post(here, data=sent(late, **{field: "typed late"}))
    assert gone.status_code == 422
    assert "typed late" in gone.text
    added = admin.post(re.search('action="([^"]*new)"', gone.text)[1], data=sent(gone.text))
    assert added.status_code in {201, 303}


def test_two_editors_of_a_user_are_told_and_the_role_stays_chosen(admin):
    made = admin.post("/api/v1/users", json=USER).raise_for_status().json()
    here = f"/users/{made['id']}"
    one, other = admin.get(here).text, admin.get(here).text
    assert admin.post(here, data=sent(one, role="operator")).status_code == 303
    refused = admin.post(here, data=sent(other, role="admin"))
    assert refused.status_code == 422
    assert "Somebody else has changed this meanwhile" in refused.text
    assert admin.get(f"/api/v1{here}").json()["role"] == "operator"
    assert admin.post(here, data=sent(refused.text)).status_code == 303
    assert admin.get(f"/api/v1{here}").json()["role"] == "admin"

    late = admin.get(here).text
    admin.delete(f"/api/v1{here}").raise_for_status()
    gone = admin.post(here, data=sent(late, role="operator"))
    assert gone.status_code == 422
    assert admin.post("/users/new", data=sent(gone.text)).status_code == 303
    [again] = [one for one in admin.get("/api/v1/users").json()["items"] if one["name"] == "twice"]
    assert again["role"] == "operator"
