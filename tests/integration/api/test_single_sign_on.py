"""Signing in through a small OpenID Connect provider of our own; no real product is asked."""

import time

import pytest
from sqlmodel import Session

from draw_api.models.own_paths import own_path
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db.migrate import seed_config
from support.api import ApiHarness
from support.oidc_provider import CLIENT_SECRET, Provider

pytestmark = [pytest.mark.integration, pytest.mark.security]

BEGIN, CALLBACK = "/api/v1/oidc/sign-in", "/api/v1/oidc/callback"


@pytest.fixture
def provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def api(database_url, tmp_path, provider):
    settings = {
        "api_oidc_issuer": provider.issuer,
        "api_oidc_client_secret": CLIENT_SECRET,
        "api_oidc_admin_groups": "it, chiefs",
        "api_oidc_operator_groups": "physics",
        "api_oidc_viewer_groups": "staff",
    }
    with ApiHarness(database_url, tmp_path, **settings) as api:
        with Session(api.database.engine) as session:
            seed_config(session, EVERYTHING)
            session.commit()
        yield api


def begin(client, target="/studies"):
    """Go to the provider and come back with what it says."""
    answer = client.get(BEGIN, params={"next": target})
    assert answer.status_code == 302
    return answer.headers["Location"]


def sign_in(api, provider):
    client = api.client()
    came_back = provider.authorize(begin(client))
    return client, client.get(CALLBACK, params=came_back)


def test_who_the_provider_knows_is_signed_in_with_the_role_of_his_groups(api, provider):
    client, answer = sign_in(api, provider)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/studies")
    me = client.get("/api/v1/me").json()
    assert (me["name"], me["role"]) == ("m.curie", "operator")
    provider.claims["groups"] = ["staff"]
    again, _ = sign_in(api, provider)
    assert again.get("/api/v1/me").json()["role"] == "viewer"
    assert client.get("/api/v1/me").json()["role"] == "viewer"
    assert len(api.rows("SELECT FROM users WHERE external_subject IS NOT NULL")) == 1
    done = [action for actor, action, _ in api.actions() if actor == "m.curie"]
    assert done == ["user.create", "session.create", "user.update", "session.create"]


def test_nobody_becomes_a_local_user_by_being_called_like_one(api, provider):
    provider.claims["preferred_username"] = "admin"
    client, _ = sign_in(api, provider)
    me = client.get("/api/v1/me").json()
    assert (me["name"], me["role"]) == ("admin@127.0.0.1", "operator")
    provider.claims["sub"] = "43"
    other, _ = sign_in(api, provider)
    assert other.get("/api/v1/me").json()["name"].startswith("admin-")


def test_without_a_role_or_shut_out_one_does_not_get_in(api, provider):
    provider.claims["groups"] = ["patients"]
    assert sign_in(api, provider)[1].status_code == 403
    provider.claims["groups"] = ["physics"]
    sign_in(api, provider)
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET active = false WHERE name = 'm.curie'")
    assert sign_in(api, provider)[1].status_code == 403
    failures = "SELECT actor, action, detail FROM transactions WHERE outcome = 'failure'"
    assert [tuple(line.values()) for line in api.rows(f"{failures} ORDER BY id")] == [
        ("m.curie", "session.create", "The identity provider gives you no role here."),
        ("m.curie", "session.create", "An administrator has shut you out."),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://somebody.else"},
        {"aud": "another client"},
        {"nonce": "of another sign-in"},
        {"exp": int(time.time()) - 3600},
    ],
    ids=["issuer", "audience", "nonce", "expired"],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(api, provider, wrong):
    provider.wrong = wrong
    assert sign_in(api, provider)[1].status_code == 401


def test_a_token_signed_with_the_shared_secret_is_refused(api, provider):
    provider.signing = "HS256"
    assert sign_in(api, provider)[1].status_code == 401


def test_a_new_key_of_the_provider_is_looked_up(api, provider, monkeypatch):
    monkeypatch.setattr("draw_api.adapters.identity_provider.MIN_KEY_LOOKUP_INTERVAL_SECONDS", 0)
    sign_in(api, provider)
    provider.renew_key()
    assert sign_in(api, provider)[1].status_code == 303
    assert provider.requests.count("/keys") == 2


def test_a_sign_in_is_finished_by_the_browser_that_began_it_and_once(api, provider):
    client = api.client()
    came_back = provider.authorize(begin(client))
    assert api.client().get(CALLBACK, params=came_back).status_code == 401
    assert client.get(CALLBACK, params=came_back | {"state": "guessed"}).status_code == 401
    assert client.get(CALLBACK, params=came_back).status_code == 303
    assert client.get(CALLBACK, params=came_back).status_code == 401
    assert client.get(CALLBACK, params={"error": "access_denied"}).status_code == 401


def test_a_forged_cookie_is_not_opened(api, provider):
    client = api.client()
    came_back = provider.authorize(begin(client))
    sealed = client.cookies["draw_oidc"]
    forger = api.client()
    forger.cookies.set("draw_oidc", sealed[:-4] + "AAAA", path=CALLBACK)
    assert forger.get(CALLBACK, params=came_back).status_code == 401


def test_a_provider_that_is_away_is_said_to_be(database_url, tmp_path):
    settings = {"api_oidc_issuer": "http://127.0.0.1:1", "api_oidc_client_secret": "x"}
    with ApiHarness(database_url, tmp_path, **settings) as api:
        answer = api.client().get(BEGIN)
    assert answer.status_code == 503
    assert "identity provider" in answer.json()["detail"]


def test_without_a_provider_there_is_nothing_to_sign_in_with(shared_api):
    client = shared_api.client()
    assert client.get("/api/v1/oidc").json()["enabled"] is False
    assert client.get(BEGIN).status_code == 404
    assert client.get(CALLBACK).status_code == 404


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/studies?x=1", "/studies?x=1"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/a\nb", "/"),
    ],
)
def test_one_goes_only_to_our_own_pages(asked, given):
    assert (own_path(asked) or "/") == given
