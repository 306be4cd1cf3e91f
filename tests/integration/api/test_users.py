"""Users, sessions and tokens over REST: who may what, and that an administrator remains.

Roles of each operation are tested in test_every_operation.py.
"""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from support.api import PASSWORD
from support.suite import all_pages

pytestmark = [pytest.mark.integration, pytest.mark.security]

USERS, TOKENS, SESSIONS = "/api/v1/users", "/api/v1/tokens", "/api/v1/sessions"
OTHER = "another correct horse"


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def add(admin, name, role="viewer", password=PASSWORD):
    answer = admin.post(USERS, json={"name": name, "role": role, "password": password})
    answer.raise_for_status()
    return answer.json()["id"]


def sign_in(api, name, password):
    answer = api.client().post("/api/v1/session", json={"name": name, "password": password})
    return answer.status_code


def bearer(api, token):
    client = api.client()
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def test_a_user_lives_and_everything_is_on_record(api, admin):
    user_id = add(admin, "curie")
    assert admin.get(f"{USERS}/{user_id}").json()["role"] == "viewer"
    assert admin.post(USERS, json={"name": "curie", "role": "viewer"}).status_code == 409
    client = api.signed_in("curie")
    assert client.get("/api/v1/me").json()["role"] == "viewer"
    admin.put(f"{USERS}/{user_id}", json={"role": "operator"}).raise_for_status()
    assert client.get("/api/v1/me").json()["role"] == "operator"
    admin.put(f"{USERS}/{user_id}", json={"role": "operator", "active": False})
    assert client.get("/api/v1/me").status_code == 401
    assert sign_in(api, "curie", PASSWORD) == 401
    assert admin.delete(f"{USERS}/{user_id}").status_code == 204
    assert admin.get(f"{USERS}/{user_id}").status_code == 404
    done = [action for _, action, _ in api.actions() if action.startswith("user.")]
    assert done == ["user.create", "user.update", "user.update", "user.delete"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "two words", "role": "viewer"}, "name"),
        ({"name": "", "role": "viewer"}, "name"),
        ({"name": "curie", "role": "root"}, "role"),
        ({"name": "curie", "role": "viewer", "password": "too short"}, "password"),
    ],
)
def test_what_is_wrong_with_a_user_is_said_without_the_password(admin, body, field):
    answer = admin.post(USERS, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert "too short" not in answer.text


def test_the_last_administrator_cannot_go(admin):
    (me,) = admin.get(USERS).json()["items"]
    path = f"{USERS}/{me['id']}"
    assert admin.delete(path).status_code == 409
    assert admin.put(path, json={"role": "operator"}).status_code == 409
    assert admin.put(path, json={"role": "admin", "active": False}).status_code == 409
    add(admin, "curie", "admin")
    assert admin.put(path, json={"role": "operator"}).status_code == 200


def test_two_administrators_who_remove_each_other_do_not_both_succeed(api, admin):
    second = add(admin, "curie", "admin")
    first = admin.get(USERS).json()["items"][0]["id"]
    other = api.signed_in("curie")
    answers = []
    ways = [(admin, second), (other, first)]
    threads = [
        threading.Thread(target=lambda c=c, i=i: answers.append(c.delete(f"{USERS}/{i}")))
        for c, i in ways
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The slower one is not let in any more, or finds that he would remove the last.
    faster, slower = sorted(answer.status_code for answer in answers)
    assert faster == 204
    assert slower in {401, 409}
    assert len(api.rows("SELECT FROM users WHERE role = 'admin' AND active")) == 1


def test_changing_ones_password_ends_ones_other_sessions(api, admin):
    add(admin, "curie")
    here, elsewhere = api.signed_in("curie"), api.signed_in("curie")
    change = {"current_password": "wrong wrong wrong", "new_password": OTHER}
    refused = here.put("/api/v1/me/password", json=change)
    assert refused.json()["errors"][0]["field"] == "current_password"
    change["current_password"] = PASSWORD
    assert here.put("/api/v1/me/password", json=change).status_code == 204
    assert here.get("/api/v1/me").status_code == 200
    assert elsewhere.get("/api/v1/me").status_code == 401
    assert (sign_in(api, "curie", PASSWORD), sign_in(api, "curie", OTHER)) == (401, 201)


def test_a_wrong_current_password_is_on_record_and_slowed_down(api, admin):
    add(admin, "curie")
    rest, page = api.with_session("curie"), api.with_session("curie")
    change = {"current_password": "wrong wrong wrong", "new_password": OTHER}
    csrf = page.headers["X-CSRF-Token"]
    answers = [rest.put("/api/v1/me/password", json=change).status_code for _ in range(2)]
    answers += [
        page.post("/users/password", data={**change, "csrf_token": csrf}).status_code
        for _ in range(4)
    ]
    assert answers == [422] * 5 + [429]
    lines = api.rows(
        "SELECT actor, action, detail FROM transactions WHERE outcome = 'failure' ORDER BY id"
    )
    assert lines == 5 * [
        {"actor": "curie", "action": "user.password_change", "detail": "wrong current password"}
    ]
    assert sign_in(api, "curie", PASSWORD) == 429


def test_an_administrator_gives_a_new_password_and_signs_out(api, admin):
    user_id = add(admin, "curie")
    client = api.signed_in("curie")
    reset = admin.put(f"{USERS}/{user_id}/password", json={"password": OTHER})
    assert reset.status_code == 204
    assert client.get("/api/v1/me").status_code == 401
    assert sign_in(api, "curie", OTHER) == 201


def test_a_new_password_from_an_administrator_ends_tokens_too(api, admin):
    user_id = add(admin, "curie")
    curie = api.with_session("curie")
    made = curie.post(TOKENS, json={"name": "stolen", "role": "viewer"}).json()
    kept = admin.post(TOKENS, json={"name": "report", "role": "viewer"}).json()
    program, other = bearer(api, made["token"]), bearer(api, kept["token"])
    assert program.get("/api/v1/me").status_code == 200
    reset = admin.put(f"{USERS}/{user_id}/password", json={"password": OTHER})
    assert reset.status_code == 204
    assert program.get("/api/v1/me").status_code == 401
    assert other.get("/api/v1/me").status_code == 200
    assert ("admin", "user.password_reset", "curie tokens revoked 1") in api.actions()


def test_a_user_without_password_cannot_sign_in_with_one(api, admin):
    admin.post(USERS, json={"name": "external", "role": "viewer"}).raise_for_status()
    assert sign_in(api, "external", PASSWORD) == 401


def test_wrong_passwords_at_the_same_time_are_no_more_than_one_after_the_other(api):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(sign_in(api, "admin", "wrong")))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [401] * 5 + [429] * 35


def test_wrong_passwords_are_slowed_down_and_on_record(api):
    assert [sign_in(api, "admin", "wrong") for _ in range(6)] == [401] * 5 + [429]
    assert sign_in(api, "admin", PASSWORD) == 429
    lines = api.rows("SELECT actor FROM transactions WHERE outcome = 'failure'")
    assert [line["actor"] for line in lines] == ["admin"] * 5


def test_a_token_is_shown_once_and_may_no_more_than_its_owner(api, admin):
    user_id = add(admin, "curie", "operator")
    curie = api.signed_in("curie")
    too_high = curie.post(TOKENS, json={"name": "x", "role": "admin"})
    assert too_high.json()["errors"][0]["field"] == "role"
    made = curie.post(TOKENS, json={"name": "report", "role": "operator"}).json()
    assert made["token"].startswith("draw_")
    (listed,) = curie.get(TOKENS).json()["items"]
    assert "token" not in listed
    kept = api.rows("SELECT token_hash FROM api_tokens")[0]["token_hash"]
    assert made["token"].encode() not in bytes(kept)
    program = bearer(api, made["token"])
    assert program.get("/api/v1/me").json()["role"] == "operator"
    admin.put(f"{USERS}/{user_id}", json={"role": "viewer"}).raise_for_status()
    assert program.get("/api/v1/me").json()["role"] == "viewer"
    # A token needs no CSRF token, but makes no tokens and changes no passwords.
    assert program.post(TOKENS, json={"name": "y", "role": "viewer"}).status_code == 403
    change = {"current_password": PASSWORD, "new_password": OTHER}
    assert program.put("/api/v1/me/password", json=change).status_code == 403
    assert curie.delete(f"{TOKENS}/{made['id']}").status_code == 204
    assert program.get("/api/v1/me").status_code == 401


def test_a_weak_token_touches_nothing_stronger(api, admin):
    mine = admin.post(TOKENS, json={"name": "backup", "role": "admin"}).json()
    weak = admin.post(TOKENS, json={"name": "report", "role": "viewer"}).json()
    (session,) = admin.get(SESSIONS).json()["items"]
    program = bearer(api, weak["token"])
    for path in (f"{TOKENS}/{mine['id']}", f"{TOKENS}/{weak['id']}", f"{SESSIONS}/{session['id']}"):
        refused = program.delete(path)
        assert refused.status_code == 403
        assert refused.json()["detail"] == "This needs a signed-in person, not a token."
    program.cookies = admin.cookies
    assert program.delete("/api/v1/session").status_code == 403
    assert admin.get("/api/v1/me").status_code == 200
    assert bearer(api, mine["token"]).get("/api/v1/me").json()["role"] == "admin"


def test_a_stolen_token_makes_no_user_that_outlives_it(api, admin):
    program = bearer(api, api.token())
    (me,) = [user for user in admin.get(USERS).json()["items"] if user["name"] == "admin"]
    body = {"name": "mallory", "role": "admin", "password": PASSWORD}
    assert program.post(USERS, json=body).status_code == 403
    reset = program.put(f"{USERS}/{me['id']}/password", json={"password": OTHER})
    assert reset.status_code == 403
    assert sign_in(api, "admin", PASSWORD) == 201
    assert "mallory" not in program.get(USERS).text


def test_a_token_ends_at_its_time(api, admin):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    refused = admin.post(TOKENS, json={"name": "x", "role": "viewer", "expires_at": past})
    assert refused.json()["errors"][0]["field"] == "expires_at"
    made = admin.post(TOKENS, json={"name": "x", "role": "viewer", "expires_at": soon}).json()
    program = bearer(api, made["token"])
    assert program.get("/api/v1/me").status_code == 200
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE api_tokens SET expires_at = now()")
    assert program.get("/api/v1/me").status_code == 401


def test_what_is_anothers_is_not_there(api, admin):
    add(admin, "curie")
    add(admin, "meitner")
    curie, meitner = api.signed_in("curie"), api.signed_in("meitner")
    token = curie.post(TOKENS, json={"name": "x", "role": "viewer"}).json()
    (session,) = curie.get(SESSIONS).json()["items"]
    assert session["current"] and session["address"] == "127.0.0.1"
    assert meitner.get(TOKENS).json()["items"] == []
    for path in (f"{TOKENS}/{token['id']}", f"{SESSIONS}/{session['id']}"):
        assert meitner.delete(path).status_code == 404
    for path in (TOKENS, SESSIONS):
        assert meitner.get(path, params={"all_users": True}).status_code == 403
    everybody = all_pages(admin, SESSIONS, all_users=True, limit=1)
    assert {s["user_name"] for s in everybody} == {"admin", "curie", "meitner"}
    assert admin.delete(f"{SESSIONS}/{session['id']}").status_code == 204
    assert curie.get("/api/v1/me").status_code == 401
