"""Allowed AE titles, explanations and rejected peers over REST, by the receiver's own rules.

That the receiver decides the same is seen in tests/e2e/test_operation.py.
"""

import re
from datetime import UTC, datetime, timedelta
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


def rights(admin, **proposal):
    """Return what a peer may do, and why not what it may not."""
    told = explain(admin, **proposal)["rights"]
    return {one["right"]: True if one["granted"] else one["words"] for one in told}


def reject(api, calling_ae, address, count=1, words="not allowed (1/1/3)", called_ae="DRAW_SCP"):
    with api.database.session() as session:
        for _ in range(count):
            session.connection().execute(
                text(
                    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica,"
                    " calling_ae, called_ae, peer_address, status, detail) VALUES (:id, :at,"
                    " 'rejection', 'rejected', 'scp', :calling, :called, :address, 3, :words)"
                ),
                {
                    "id": uuid4(),
                    "at": datetime.now(UTC),
                    "calling": calling_ae,
                    "called": called_ae,
                    "address": address,
                    "words": words,
                },
            )
        session.commit()


def test_ae_titles_are_kept_and_every_change_is_on_record(api, admin):
    made = admin.post(TITLES, json={"ae_title": " CT_1 ", "description": "room 2"})
    assert made.status_code == 201
    row = made.json()
    assert (row["ae_title"], row["active"]) == ("CT_1", True)
    assert row["rights"] == ["echo", "store", "query", "retrieve", "move"]
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
    ("title", "words"),
    [
        ("CT\\ROOM", "has a backslash"), ("   ", "an empty AE title"), ("", "an empty AE title"),
        ("CT\r\n1", "has line ends or other characters"), ("CT_ÄÖ", "not printable ASCII"),
    ],
)  # fmt: skip
def test_a_title_that_nobody_can_allow_is_to_be_changed_at_the_device(api, admin, title, words):
    configure(admin, {"security": {"validate_calling_ae": True}})
    reject(api, title, "192.0.2.7")
    [peer] = admin.get("/api/v1/access/rejected-peers").json()["items"]
    assert not peer["can_be_allowed"]
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    connect = admin.get("/devices/connect", params={"since": since}).text
    for html in (connect, *map(read(admin), ("/", "/transactions", "/ae-titles/rejected"))):
        assert words in html
        assert "DICOM settings" in html
        assert "/allow" not in html
    assert "Continue with this device" not in connect


def read(admin):
    return lambda path: admin.get(path).text


def test_rejected_peers_are_those_of_the_time_that_is_chosen(api, admin):
    reject(api, "CT_EARLY", "192.0.2.7")
    with api.database.session() as session:
        session.connection().execute(
            text("UPDATE transactions SET occurred_at = occurred_at - interval '2 hours'")
        )
        session.commit()
    reject(api, "CT_LATE", "192.0.2.8")
    for chip, shown in (("", {"CT_EARLY", "CT_LATE"}), ("?span=hour", {"CT_LATE"})):
        page = admin.get(f"/transactions{chip}").text
        link = re.search(r'href="(/ae-titles/rejected[^"]*)">Rejected<', page)[1]
        for html in (page, admin.get(link.replace("&amp;", "&")).text):
            assert {title for title in ("CT_EARLY", "CT_LATE") if title in html} == shown
    for edge in ("since=0001-01-01T00:00", "until=0001-01-01T00:00", "until=9999-12-31T23:59"):
        for path in ("/transactions", "/ae-titles/rejected"):
            assert admin.get(f"{path}?{edge}").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ae_title": ""}, "ae_title"),
        ({"ae_title": "SEVENTEEN_LETTERS"}, "ae_title"),
        ({"ae_title": "BACK\\SLASH"}, "ae_title"),
        ({"ae_title": "CT_1", "expected_ip": "room 2"}, "expected_ip"),
        ({"ae_title": "CT_1", "description": "two\nlines"}, "description"),
        ({"ae_title": "CT_1", "colour": "red"}, "colour"),
        ({"ae_title": "CT_1", "rights": ["worklist"]}, "rights.0"),
        ({"ae_title": "CT_1", "move_destinations": ["BACK\\SLASH"]}, "move_destinations.0"),
        ({"ae_title": "CT_1", "certificates": [" "]}, "certificates.0"),
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


@pytest.mark.parametrize("path", ["/", "/transactions", "/ae-titles", "/ae-titles/rejected"])
def test_a_peer_that_called_us_wrongly_is_explained_as_it_was_rejected(api, admin, path):
    configure(admin, {"security": {"check_called_ae": True}})
    reject(api, "CT_1", "192.0.2.7", 2, "the called AE title is not ours (1/1/7)", "OLD&NAME")
    page = admin.get(path).text
    assert "(1/1/7): it called OLD&amp;NAME" in page
    link = re.search(r'href="(/ae-titles/simulator\?[^"]+)"', page)[1]
    explained = admin.get(link.replace("&amp;", "&")).text
    assert "Rejected</span>" in explained
    assert "the called AE title is not ours" in explained


def test_the_activity_of_a_peer_shows_its_own_rejections(api, admin):
    for number in range(5):
        reject(api, f"OTHER_{number}", "192.0.2.8")
    reject(api, "CT_1", "192.0.2.7", words="first reason (1/1/3)")
    reject(api, "CT_2", "192.0.2.8")
    for peer, shown in (("CT_1", {"CT_1"}), ("192.0.2.7", {"CT_1"}), ("CT_2", {"CT_2"})):
        page = admin.get("/transactions", params={"peer": peer}).text
        rejections = page.partition('id="rejections"')[2].partition("</section>")[0]
        chip = re.search(r'href="(/ae-titles/rejected[^"]*)">Rejected<', page)[1]
        for html in (rejections, admin.get(chip.replace("&amp;", "&")).text):
            assert {title for title in ("CT_1", "CT_2", "OTHER_4") if title in html} == shown
    assert 'id="rejections"' not in admin.get("/transactions?activity=stored").text
    assert 'id="rejections"' not in admin.get("/transactions?peer=CT_3").text


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


NOT_LISTED = "the AE title is not on the list"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def test_who_is_not_on_the_list_reads_nothing_and_what_else_he_may_is_configured(admin):
    reading = f"{NOT_LISTED}, which reading needs"
    assert rights(admin) == {
        "echo": True, "store": True, "query": reading, "retrieve": reading, "move": reading,
    }  # fmt: skip
    configure(admin, {"security": {"unknown_may_store": False}})
    assert rights(admin)["store"] == f"{NOT_LISTED}, and others may not store"
    found = explain(admin, sop_class_uid=FIND)
    assert (found["accepted"], found["rejection"]) == (False, "1/1/3")
    assert found["verdict"] == f"no right to query: {NOT_LISTED}"


def test_rights_are_kept_explained_and_on_record(api, admin):
    settings = {
        "ae_title": "WORKSTATION",
        "rights": ["move", "query", "query"],
        "move_destinations": ["STORE_1", "STORE_2"],
    }
    made = admin.post(TITLES, json=settings).raise_for_status()
    assert made.json()["rights"] == ["query", "move"]
    found = explain(admin, calling_ae="WORKSTATION", sop_class_uid=CT)
    assert found["verdict"] == "no right to store: the AE title is on the list"
    told = {one["right"]: (one["granted"], one["words"]) for one in found["rights"]}
    without = (False, "the AE title is on the list without this right")
    assert told == {
        "echo": without,
        "store": without,
        "query": (True, "the AE title is on the list"),
        "retrieve": without,
        "move": (True, "the AE title is on the list: to STORE_1, STORE_2"),
    }
    configure(admin, {"services": {"c_find": False}})
    assert rights(admin, calling_ae="WORKSTATION")["query"] == "the service is switched off"
    [detail] = [detail for _, action, detail in api.actions() if action == "ae_title.create"]
    assert detail == "WORKSTATION: query, move; moves to STORE_1, STORE_2"


def test_a_title_that_is_bound_needs_its_certificate(admin):
    fingerprint = ":".join(["AB"] * 32)
    bound = {"ae_title": "CT_1", "certificates": [fingerprint, "ct.example.org"]}
    made = admin.post(TITLES, json=bound).json()
    assert made["certificates"] == [fingerprint, "ct.example.org"]
    refused = explain(admin)
    assert (refused["accepted"], refused["rejection"]) == (False, "1/1/3")
    [check] = [c for c in refused["checks"] if c["rule"] == "certificate"]
    assert (check["passed"], check["words"].endswith("are not asked for (network.tls)")) == (
        False,
        True,
    )
    assert not explain(admin, certificate="other.example.org")["accepted"]
    for shown in ("CT.example.org", fingerprint):
        assert explain(admin, certificate=shown)["accepted"]


def test_a_reader_who_was_turned_away_is_allowed_exactly_what_he_lacked(api, admin):
    reject(api, "READER", "192.0.2.7", words=f"no right to query, move: {NOT_LISTED} (1/1/3)")
    [peer] = admin.get("/api/v1/access/rejected-peers").json()["items"]
    assert (peer["can_be_allowed"], peer["denied_rights"]) == (True, ["query", "move"])
    body = {"calling_ae": "READER", "address": "192.0.2.7", "rights": peer["denied_rights"]}
    allowed = admin.post("/api/v1/access/rejected-peers/allow", json=body)
    assert allowed.status_code == 201, allowed.text
    [title] = admin.get(TITLES).json()["items"]
    assert title["rights"] == ["echo", "store", "query", "move"]
    assert not admin.get("/api/v1/access/rejected-peers").json()["items"][0]["can_be_allowed"]
    assert explain(admin, calling_ae="READER", sop_class_uid=FIND)["accepted"]


def test_a_title_on_the_list_is_allowed_one_thing_more_and_keeps_the_rest(api, admin):
    kept = {"ae_title": "READER", "rights": ["move"], "move_destinations": ["STORE_1"]}
    kept["certificates"] = ["reader.example.org"]
    admin.post(TITLES, json=kept).raise_for_status()
    body = {"calling_ae": "READER", "address": "192.0.2.7", "rights": ["query"]}
    body["move_destination"] = "STORE_2"
    admin.post("/api/v1/access/rejected-peers/allow", json=body).raise_for_status()
    [title] = admin.get(TITLES).json()["items"]
    assert title["rights"] == ["query", "move"]
    assert title["move_destinations"] == ["STORE_1", "STORE_2"]
    assert title["certificates"] == ["reader.example.org"]


def test_a_destination_that_was_refused_can_be_allowed(api, admin):
    listed = {"ae_title": "READER", "move_destinations": ["STORE_1"]}
    admin.post(TITLES, json=listed).raise_for_status()
    reject(api, "READER", "192.0.2.7", words="no right to move to STORE_2 (0x0124)")
    [peer] = admin.get("/api/v1/access/rejected-peers").json()["items"]
    assert (peer["can_be_allowed"], peer["denied_destination"]) == (True, "STORE_2")


def test_this_machine_s_exception_is_what_receivers_say_it_is(api, admin):
    assert rights(admin, address="127.0.0.1")["query"] == f"{NOT_LISTED}, which reading needs"
    with api.database.session() as session:
        session.connection().execute(
            text(
                "INSERT INTO service_replicas (replica, service, state, details)"
                " VALUES ('scp', 'scp', 'ready', '{\"loopback_reads\": true}')"
            )
        )
        session.commit()
    assert rights(admin, address="127.0.0.1")["query"] is True
    assert rights(admin)["query"] == f"{NOT_LISTED}, which reading needs"
    assert "without being on the list" in admin.get("/ae-titles").text


def test_the_page_shows_rights_as_a_matrix_and_its_button_allows_what_was_lacking(api, admin):
    reject(api, "READER", "192.0.2.7", words=f"no right to query: {NOT_LISTED} (1/1/3)")
    page = admin.get("/ae-titles").text
    assert "Any other" in page
    assert '<input type="hidden" name="rights" value="query">' in page
    signed = {"csrf_token": admin.headers["X-CSRF-Token"]}
    form = signed | {"calling_ae": "READER", "address": "192.0.2.7", "rights": ["query"]}
    assert admin.post("/ae-titles/allow", data=form).status_code == 303
    [title] = admin.get(TITLES).json()["items"]
    shown = admin.get(f"/ae-titles/{title['id']}").text
    assert 'value="query" checked' in shown
    assert 'value="move"><label' in shown
    changed = signed | {"ae_title": "READER", "rights": ["echo"], "certificates": "a.b\nc.d"}
    assert admin.post(f"/ae-titles/{title['id']}", data=changed).status_code == 303
    [title] = admin.get(TITLES).json()["items"]
    assert (title["rights"], title["certificates"]) == (["echo"], ["a.b", "c.d"])
