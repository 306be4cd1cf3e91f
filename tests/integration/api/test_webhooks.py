"""Webhooks over REST and on the page, with a real database.

Not covered: deliveries (tests/integration/indexer).
"""

import base64
import re

import pytest
from sqlalchemy import text

from support.suite import all_pages

pytestmark = pytest.mark.integration

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SECRET = SECRET.replace("MD", "AD")
BOTH_SIGN = (
    "SELECT previous_secret FROM webhooks WHERE previous_secret_until"
    " BETWEEN now() + interval '23 hours' AND now() + interval '24 hours'"
)


@pytest.fixture
def api(shared_api):
    execute(shared_api, "DELETE FROM webhooks")
    return shared_api


@pytest.fixture
def admin(api):
    return api.of_role("admin")


def execute(api, statement):
    with api.database.session() as session:
        session.connection().execute(text(statement))
        session.commit()


def scalars(api, query):
    return [next(iter(row.values())) for row in api.rows(query)]


def test_a_webhook_is_made_changed_and_removed(admin, api):
    new = {"url": "https://handler.example/draw", "secret": SECRET, "kinds": ["series.stable"]}
    made = admin.post("/api/v1/webhooks", json=new)
    assert made.status_code == 201
    assert SECRET not in made.text
    path = f"/api/v1/webhooks/{made.json()['id']}"
    changed = admin.patch(path, json={"active": False, "secret": OTHER_SECRET})
    assert (changed.json()["active"], changed.json()["url"]) == (False, new["url"])
    assert scalars(api, "SELECT secret FROM webhooks") == [OTHER_SECRET]
    admin.patch(path, json={"secret": OTHER_SECRET}).raise_for_status()
    assert scalars(api, BOTH_SIGN) == [SECRET]
    assert SECRET not in str(api.actions())
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://handler.example/"},
        {"url": "https://user:word@handler.example/"},
        {"url": "javascript:alert(1)"},
        {"url": "http://[::1"},
        {"url": "http://169.254.169.254/latest/meta-data"},
        {"url": "http://[::ffff:169.254.169.254]/"},
        {"url": "http://0xa9fea9fe/"},
        {"url": "http://[fe80::1%25eth0]/"},
        {"secret": "short"},
        {"secret": "whsec_short"},
        {"secret": "whsec_" + "A" * 28},
        {"secret": "whsec_" + "?" * 32},
        {"secret": SECRET.removeprefix("whsec_")},
        {"kinds": []},
        {"kinds": ["anything"]},
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(admin, wrong):
    new = {"url": "https://handler.example/", "secret": SECRET} | wrong
    answer = admin.post("/api/v1/webhooks", json=new)
    assert answer.status_code == 422
    (field,) = wrong
    assert answer.json()["errors"][0]["field"].startswith(field)


def test_a_secret_is_made_when_none_is_given_and_renewed_gently(admin, api):
    made = admin.post("/api/v1/webhooks", json={"url": "https://handler.example/"}).json()
    path = f"/api/v1/webhooks/{made['id']}"
    assert scalars(api, "SELECT secret FROM webhooks") == [made["secret"]]
    assert "secret" not in admin.get(path).json()
    renewed = admin.post(f"{path}/secret").raise_for_status().json()
    assert scalars(api, "SELECT secret FROM webhooks") == [renewed["secret"]]
    assert scalars(api, BOTH_SIGN) == [made["secret"]]
    for secret in (made["secret"], renewed["secret"]):
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert admin.post("/api/v1/webhooks/999/secret").status_code == 404


def test_a_webhook_that_was_disabled_says_why_and_is_told_again_when_wanted(admin, api):
    execute(api, "INSERT INTO changes (kind) VALUES ('study.stable')")
    new = {"url": "https://handler.example/draw", "secret": SECRET}
    made = admin.post("/api/v1/webhooks", json=new).json()
    path = f"/api/v1/webhooks/{made['id']}"
    since = "SELECT since_sequence = (SELECT max(sequence) FROM changes) FROM webhooks"
    assert scalars(api, since) == [True]
    execute(
        api,
        "UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'gone',"
        " failing_since = now() - interval '1 hour'",
    )
    kept = admin.patch(path, json={"description": "looked at"}).json()
    assert (kept["active"], kept["disabled_reason"]) == (False, "gone")
    back = admin.patch(path, json={"active": True}).json()
    assert back["active"] is True
    assert (back["disabled_at"], back["disabled_reason"], back["failing_since"]) == (None, "", None)


def test_the_page_shows_a_secret_once_and_which_webhook_is_disabled(admin, api):
    token = {"csrf_token": admin.headers["X-CSRF-Token"]}
    form = token | {"url": "https://handler.example/", "kinds": "series.stable", "active": "on"}
    made = admin.post("/webhooks/new", data=form)
    assert made.status_code == 201
    shown = made.text
    (secret,) = set(re.findall("whsec_[A-Za-z0-9+/=]+", shown))
    assert scalars(api, "SELECT secret FROM webhooks") == [secret]
    (number,) = scalars(api, "SELECT id FROM webhooks")
    assert "24 hours" in admin.get(f"/webhooks/{number}/secret").text
    (renewed,) = set(
        re.findall(
            "whsec_[A-Za-z0-9+/=]+", admin.post(f"/webhooks/{number}/secret", data=token).text
        )
    )
    assert scalars(api, "SELECT secret FROM webhooks") == [renewed] != [secret]
    assert "whsec_" not in admin.get(f"/webhooks/{number}").text
    assert "disabled" not in admin.get("/").text
    execute(
        api,
        "UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'gone',"
        " failing_since = now()",
    )
    assert "1 webhook is disabled" in admin.get("/").text
    assert "answered 410" in admin.get(f"/webhooks/{number}").text
    assert "Disabled" in admin.get("/changes").text


def test_dead_deliveries_are_shown_and_sent_again(admin, api):
    new = {"url": "https://handler.example/draw", "secret": SECRET}
    path = f"/api/v1/webhooks/{admin.post('/api/v1/webhooks', json=new).json()['id']}"
    execute(
        api,
        "INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state, attempts)"
        " SELECT w.id, n, 'series.stable', '{}', CASE WHEN n = 1 THEN 'delivered' ELSE 'dead' END,"
        " 8 FROM webhooks w, generate_series(1, 3) n",
    )
    assert admin.get(path).json()["dead"] == 2
    dead = all_pages(admin, f"{path}/deliveries", state="dead", limit=1)
    assert [delivery["sequence"] for delivery in dead] == [3, 2]
    assert admin.post(f"{path}/deliveries/replay").json() == {"deliveries": 2}
    one = scalars(api, "SELECT id FROM webhook_deliveries WHERE state = 'delivered'")[0]
    assert admin.post(f"{path}/deliveries/{one}/replay").json() == {"deliveries": 1}
    assert admin.post(f"{path}/deliveries/{one + 999}/replay").status_code == 404
    assert set(scalars(api, "SELECT state || attempts FROM webhook_deliveries")) == {"pending0"}


def test_what_a_hanging_receiver_has_yet_to_get_is_counted_to_a_bound(api, admin):
    made = admin.post("/api/v1/webhooks", json={"url": "https://handler.example/draw"}).json()
    fill = (
        "INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state)"
        " SELECT w.id, n, 'series.stable', '{}', 'pending' FROM webhooks w,"
    )
    execute(api, f"{fill} generate_series(1, 1000) n")
    path = f"/api/v1/webhooks/{made['id']}"
    assert admin.get(path).json()["pending"] == 1000
    execute(api, f"{fill} generate_series(1001, 3000) n")
    assert admin.get(path).json()["pending"] == 1001
    page = admin.get("/changes").text
    assert "1,000+" in page


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_webhooks_are_for_administrators(api, role):
    client = api.of_role(role)
    assert client.get("/api/v1/webhooks").status_code == 403
