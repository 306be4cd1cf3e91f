"""The configuration over REST: sections, fields, versions, roll-back.

That receivers follow is seen in tests/e2e/test_operation.py.
"""

import pytest

from draw_indexer.adapters.former_handler import FormerHandler
from draw_shared.contracts.config_snapshot import ConfigSnapshot
from draw_shared.contracts.server_config import EVERYTHING, ServerConfig
from draw_shared.db.config_versions import catch_up

pytestmark = pytest.mark.integration

CONFIG = "/api/v1/config"


@pytest.fixture
def admin(api):
    return api.with_session("admin")


@pytest.fixture(scope="module")
def shared_admin(shared_api):
    return shared_api.with_session("admin")


def patch(client, body, tag=None, **parameters):
    tag = tag or client.get(CONFIG).headers["ETag"]
    return client.patch(CONFIG, json=body, headers={"If-Match": tag}, params=parameters)


def problems(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_the_document_has_every_section_and_its_version_as_entity_tag(admin):
    answer = admin.get(CONFIG)
    assert answer.headers["ETag"] == '"1"'
    assert ServerConfig.model_validate(answer.json()["document"]) == EVERYTHING


def test_a_patch_changes_what_it_names_and_nothing_else(admin):
    answer = patch(
        admin,
        {"network": {"max_associations": 25}, "security": {"allowed_ips": ["192.0.2.1"]}},
        comment="more modalities",
    )
    assert answer.headers["ETag"] == '"2"'
    document = ServerConfig.model_validate(answer.json()["document"])
    assert document.network == EVERYTHING.network.model_copy(update={"max_associations": 25})
    assert document.security.allowed_ips == ("192.0.2.1/32",)
    assert document.sop_classes == EVERYTHING.sop_classes


def test_null_gives_a_setting_its_default_back(admin):
    patch(admin, {"storage": {"max_storage_gb": 7}})
    answer = patch(admin, {"storage": {"max_storage_gb": None}})
    assert answer.json()["document"]["storage"]["max_storage_gb"] == 100


def test_a_patch_that_changes_nothing_makes_no_version(admin):
    assert patch(admin, {"network": {"port": 11112}}).json()["version"] == 1


@pytest.fixture
def written(api):
    """Return a function that writes a version as another release does."""

    def write(**security):
        document = EVERYTHING.model_dump(mode="json")
        document["security"].update(security)
        with api.database.session() as session:
            catch_up(session, ConfigSnapshot(2, document), 1)
            session.commit()

    return write


def test_a_document_of_a_later_release_is_shown_and_changed_as_far_as_it_is_known(admin, written):
    written(validate_calling_ae=True, quarantine=True)
    shown = ServerConfig.model_validate(admin.get(CONFIG).json()["document"])
    assert shown.security.validate_calling_ae
    assert admin.get("/config").status_code == 200
    answer = patch(admin, {"network": {"port": 104}})
    assert answer.headers["ETag"] == '"3"'
    assert answer.json()["document"]["security"]["validate_calling_ae"] is True


def test_a_document_that_cannot_be_read_gives_way_to_an_earlier_version(admin, written):
    written(allowed_ips=["everywhere"])
    answer = admin.get(CONFIG)
    assert answer.status_code == 409
    assert "security.allowed_ips" in answer.json()["detail"]
    assert "version 1 again" not in admin.get("/config/history").raise_for_status().text
    restored = admin.post(f"{CONFIG}/versions/1/restore", headers={"If-Match": "*"})
    assert restored.json()["version"] == 3
    assert "version 1 again" in admin.get("/config/history").text
    assert admin.get(CONFIG).status_code == 200


NO_FILES = {"enabled": True, "certificate_file": "/no/c.pem", "key_file": "/no/k.pem"}


def test_a_client_must_say_what_it_read_and_have_read_the_newest(admin):
    assert admin.patch(CONFIG, json={"network": {"port": 104}}).status_code == 428
    patch(admin, {"network": {"port": 104}})
    assert patch(admin, {"network": {"port": 105}}, tag='"1"').status_code == 412
    assert patch(admin, {"network": {"port": 105}}, tag="*").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"network": {"max_associations": 0}}, "network.max_associations"),
        ({"network": {"max_associations": 101}}, "network.max_associations"),
        ({"network": {"max_pdu_bytes": 4095}}, "network.max_pdu_bytes"),
        ({"network": {"network_timeout_seconds": 301}}, "network.network_timeout_seconds"),
        ({"network": {"ae_title": "lower"}}, "network.ae_title"),
        ({"network": {"ae_title": "SEVENTEEN_LETTERS"}}, "network.ae_title"),
        ({"network": {"ae_title": "BACK\\SLASH"}}, "network.ae_title"),
        ({"network": {"host": "not a host"}}, "network.host"),
        ({"network": {"host": "1.2.3"}}, "network.host"),
        ({"network": {"host": "pacs..example.org"}}, "network.host"),
        ({"network": {"prot": 1}}, "network.prot"),
        ({"network": {"max_connections": 10, "max_associations": 20}}, "network.max_connections"),
        ({"network": {"tls": {"enabled": True}}}, "network.tls.certificate_file"),
        ({"network": {"tls": NO_FILES | {"port": 11112}}}, "network.tls.port"),
        ({"network": {"tls": NO_FILES | {"port": 65536}}}, "network.tls.port"),
        ({"network": {"tls": {"client_certificates": "required"}}}, "network.tls.client_ca_file"),
        ({"storage": {"structure": "pile"}}, "storage.structure"),
        ({"storage": {"max_storage_gb": -1}}, "storage.max_storage_gb"),
        ({"storage": {"retention_days": 0}}, "storage.retention_days"),
        ({"security": {"allowed_ips": ["10.0.0.0/33"]}}, "security.allowed_ips.0"),
        ({"sop_classes": {"further": ["1.2.x"]}}, "sop_classes.further.0"),
        ({"logging": {"level": "LOUD"}}, "logging.level"),
        ({"network": 5}, "network"),
        ({"sections": {}}, "sections"),
    ],
)
def test_what_is_wrong_is_said_by_field_and_nothing_changes(shared_admin, body, field):
    assert problems(patch(shared_admin, body)).keys() >= {field}
    assert shared_admin.get(CONFIG).json()["version"] == 1


def test_the_handlers_settings_are_not_shown_and_stay_until_they_are_a_rule(api, admin):
    plain = EVERYTHING.model_dump(mode="json")
    with api.database.session() as session:
        old = plain | {"handler": {"auto_import": True, "folder": "/srv/handler"}}
        catch_up(session, ConfigSnapshot(2, old), 1)
        session.commit()
    assert admin.get(f"{CONFIG}/versions/2").json()["document"] == plain
    assert "document" in patch(admin, {"logging": {"level": "DEBUG"}}).json()
    [entry, *_] = admin.get(f"{CONFIG}/versions").json()["items"]
    assert [change["field"] for change in entry["changes"]] == ["logging.level"]
    FormerHandler(api.database).take_over()
    [entry, *_] = admin.get(f"{CONFIG}/versions").json()["items"]
    assert [change["field"] for change in entry["changes"]] == ["handler"]
    restored = admin.post(f"{CONFIG}/versions/2/restore", headers={"If-Match": "*"})
    assert restored.json()["document"] == plain
    FormerHandler(api.database).take_over()
    assert admin.get(CONFIG).json()["version"] == restored.json()["version"] == 5
    assert admin.get("/api/v1/routing").json()["version"] == 1


def test_history_says_who_changed_what_from_what(api, admin):
    patch(admin, {"network": {"port": 104}, "services": {"c_get": False}}, comment="as at home")
    newest, first = admin.get(f"{CONFIG}/versions").json()["items"]
    assert (newest["created_by"], newest["comment"]) == ("admin", "as at home")
    assert newest["changes"] == [
        {"field": "network.port", "before": 11112, "after": 104},
        {"field": "services.c_get", "before": True, "after": False},
    ]
    assert (first["version"], first["changes"]) == (1, [])
    assert ("admin", "config.update", "2: network.port, services.c_get") in api.actions()


def test_the_page_of_the_history_writes_sizes_and_times_as_the_form_does(api, admin):
    patch(
        admin,
        {"storage": {"max_storage_gb": 2000}, "network": {"dimse_timeout_seconds": 120}},
    )
    page = admin.get("/config/history").text
    assert '<span class="diff-new">2 TB</span>' in page
    assert '<span class="diff-new">2 min</span>' in page


def test_rolling_back_is_a_new_version_with_the_old_document(admin):
    patch(admin, {"network": {"port": 104}})
    patch(admin, {"network": {"port": 105}})
    answer = admin.post(f"{CONFIG}/versions/1/restore", headers={"If-Match": '"3"'})
    assert (answer.json()["version"], answer.json()["document"]["network"]["port"]) == (4, 11112)
    assert admin.get(f"{CONFIG}/versions/3").json()["document"]["network"]["port"] == 105
    assert admin.post(f"{CONFIG}/versions/1/restore").status_code == 428
    stale = admin.post(f"{CONFIG}/versions/1/restore", headers={"If-Match": '"3"'})
    assert stale.status_code == 412
    missing = admin.post(f"{CONFIG}/versions/99/restore", headers={"If-Match": "*"})
    assert missing.status_code == 404


def test_the_reference_names_every_setting_with_default_and_range(shared_admin):
    admin = shared_admin
    sections = admin.get(f"{CONFIG}/reference").json()["sections"]
    fields = {field["path"]: field for section in sections for field in section["fields"]}
    document = admin.get(CONFIG).json()["document"]
    assert set(fields) == set(leaves(document))
    assert [section["name"] for section in sections] == list(document)
    assert all(field["help"] and field["label"] for field in fields.values())
    port = fields["network.port"]
    assert (port["kind"], port["minimum"], port["maximum"]) == ("integer", 1, 65535)
    assert (port["default"], port["effect"]) == (11112, "rebind")
    structure = fields["storage.structure"]
    assert structure["choices"] == ["flat", "patient", "study", "series", "date"]
    assert {p for p, f in fields.items() if f["effect"] == "rebind"} == {
        "network.host",
        "network.port",
        *(p for p in fields if p.startswith("network.tls.")),
    }


def leaves(document, prefix=""):
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
