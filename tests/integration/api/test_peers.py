"""Allowed AE titles, explanations and rejected peers over REST, by the receiver's own rules.

That the receiver decides the same is seen in tests/e2e/test_operation.py.
"""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text

from support.suite import all_pages

pytestmark = pytest.mark.integration

TITLES = "/api/v1/ae-titles"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def configure(admin, patch):
    answer = admin.patch("/api/v1/config", json=patch, headers={"If-Match": "*"})
    answer.raise_for_status()


def explain(admin, **proposal):
    asked = {"calling_ae": "CT_1", "address": "192.0.2.7"} | proposal
    answer = admin.get("/api/v1/access/explain", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def reject(api, calling_ae, address, count=1):
    with api.database.session() as session:
        for _ in range(count):
            session.connection().execute(
                text(
                    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica,"
                    " calling_ae, peer_address, status, detail) VALUES (:id, :at, 'rejection',"
                    " 'rejected', 'scp', :calling, :address, 3, 'not allowed (1/1/3)')"
                ),
                {"id": uuid4(), "at": datetime.now(UTC), "calling": calling_ae, "address": address},
            )
        session.commit()


def test_ae_titles_are_kept_and_every_change_is_on_record(api, admin):
    made = admin.post(TITLES, json={"ae_title": " CT_1 ", "description": "room 2"})
    assert made.status_code == 201
    row = made.json()
    assert (row["ae_title"], row["active"]) == ("CT_1", True)
    path = made.headers["Location"]
    assert admin.get(path).json() == row
    changed = admin.put(path, json={"ae_title": "CT_2", "expected_ip": "192.0.2.7"})
    assert (changed.json()["expected_ip"], changed.json()["description"]) == ("192.0.2.7", "")
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == admin.delete(path).status_code == 404
    assert [a for _, a, _ in api.actions() if a.startswith("ae_title")] == [
        "ae_title.create",
        "ae_title.update",
        "ae_title.delete",
    ]


def test_an_ae_title_is_in_the_list_once(admin):
    first = admin.post(TITLES, json={"ae_title": "CT_1"}).headers["Location"]
    second = admin.post(TITLES, json={"ae_title": "CT_2"}).headers["Location"]
    assert admin.post(TITLES, json={"ae_title": "CT_1"}).status_code == 409
    assert admin.put(second, json={"ae_title": "CT_1"}).status_code == 409
    assert admin.put(first, json={"ae_title": "CT_1"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ae_title": ""}, "ae_title"),
        ({"ae_title": "SEVENTEEN_LETTERS"}, "ae_title"),
        ({"ae_title": "BACK\\SLASH"}, "ae_title"),
        ({"ae_title": "CT_1", "expected_ip": "room 2"}, "expected_ip"),
        ({"ae_title": "CT_1", "description": "two\nlines"}, "description"),
        ({"ae_title": "CT_1", "colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_with_an_ae_title_is_said_by_field(shared_api, body, field):
    answer = shared_api.with_session("admin").post(TITLES, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_explanations_follow_the_rules_in_force(admin):
    assert explain(admin)["accepted"]
    configure(admin, {"security": {"validate_calling_ae": True}})
    refused = explain(admin)
    assert (refused["accepted"], refused["rejection"]) == (False, "1/1/3")
    assert [c["rule"] for c in refused["checks"] if not c["passed"]] == ["calling AE title"]
    admin.post(TITLES, json={"ae_title": "CT_1", "expected_ip": "192.0.2.8"})
    assert explain(admin)["verdict"] == "the calling AE title is expected from another address"
    assert explain(admin, address="::ffff:192.0.2.8")["accepted"]
    configure(admin, {"security": {"allowed_ips": ["198.51.100.0/24"]}})
    assert explain(admin, address="192.0.2.8")["rejection"] == "1/1/1"
    configure(admin, {"services": {"enabled": False}})
    assert explain(admin)["verdict"] == "the receiver is switched off"


def test_explanations_name_the_transfer_syntax_or_why_there_is_none(admin):
    jpeg_2000, implicit = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"
    configure(
        admin,
        {
            "sop_classes": {"all_storage_classes": False, "promiscuous": False},
            "transfer_syntaxes": {"all_transfer_syntaxes": False, "jpeg_2000_lossless": False},
        },
    )
    both = {"sop_class_uid": CT, "transfer_syntax_uid": [jpeg_2000, implicit]}
    assert explain(admin, **both)["transfer_syntax_uid"] == implicit
    one = explain(admin, sop_class_uid=CT, transfer_syntax_uid=jpeg_2000)
    assert (one["accepted"], one["verdict"]) == (
        False,
        "none of the transfer syntaxes is switched on",
    )
    unknown = explain(admin, sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1")
    assert unknown["verdict"] == "the SOP class is not switched on"


def test_rejected_peers_are_counted_and_one_request_lets_them_in(api, admin):
    configure(
        admin,
        {"security": {"validate_calling_ae": True, "allowed_ips": ["198.51.100.0/24"]}},
    )
    reject(api, "CT_1", "192.0.2.7", 3)
    reject(api, None, "192.0.2.8")
    unknown, known = admin.get("/api/v1/access/rejected-peers").json()["items"]
    assert (unknown["calling_ae"], unknown["can_be_allowed"]) == (None, False)
    assert (known["count"], known["can_be_allowed"]) == (3, True)
    peer = {"calling_ae": "CT_1", "address": "192.0.2.7", "only_from_address": True}
    allowed = admin.post("/api/v1/access/rejected-peers/allow", json=peer)
    assert (allowed.status_code, allowed.json()["accepted"]) == (201, True)
    document = admin.get("/api/v1/config").json()["document"]
    assert document["security"]["allowed_ips"] == ["198.51.100.0/24", "192.0.2.7/32"]
    (title,) = admin.get(TITLES).json()["items"]
    assert (title["ae_title"], title["expected_ip"]) == ("CT_1", "192.0.2.7")
    assert not admin.get("/api/v1/access/rejected-peers").json()["items"][1]["can_be_allowed"]
    elsewhere = {"calling_ae": "CT_1", "address": "192.0.2.9"}
    assert admin.post("/api/v1/access/rejected-peers/allow", json=elsewhere).json()["accepted"]
    assert len(admin.get(TITLES).json()["items"]) == 1


def test_rejected_peers_are_read_page_by_page(api, admin):
    for number in range(5):
        reject(api, f"CT_{number}", "192.0.2.7")
    reject(api, None, "192.0.2.7")
    found = all_pages(admin, "/api/v1/access/rejected-peers", limit=2)
    assert [peer["calling_ae"] for peer in found] == [None, *(f"CT_{n}" for n in range(4, -1, -1))]
    foreign = admin.get("/api/v1/access/rejected-peers", params={"cursor": "WzFd"})
    assert foreign.json()["errors"][0]["field"] == "cursor"
    assert "CT_0" in admin.get("/ae-titles/rejected").text


@pytest.mark.parametrize("written", ["::ffff:192.0.2.7", "::ffff:192.0.2.0/120", "192.0.2.0/24"])
def test_a_mapped_address_is_its_ipv4_address(admin, written):
    configure(admin, {"security": {"allowed_ips": [written]}})
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "::FFFF:c000:207"):
        assert explain(admin, address=address)["accepted"], address
    assert not explain(admin, address="::ffff:198.51.100.7")["accepted"]
    (kept,) = admin.get("/api/v1/config").json()["document"]["security"]["allowed_ips"]
    assert kept.startswith("192.0.2.")
    made = admin.post(TITLES, json={"ae_title": "CT_9", "expected_ip": "::ffff:192.0.2.9"})
    assert made.json()["expected_ip"] == "192.0.2.9"
