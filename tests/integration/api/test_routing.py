"""The rules of routing over REST: versions, roll-back, problems beside fields, explanation.

The rules themselves are in tests/unit/shared/routing and tests/property/test_routing.py.
"""

import pytest

from draw_shared.routing.document import RoutingDocument

pytestmark = pytest.mark.integration

ROUTING = "/api/v1/routing"
CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
RULE = {"name": "ct", "when": CT, "destinations": ["contouring"]}


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def put(client, *rules, tag=None, **parameters):
    tag = tag or client.get(ROUTING).headers["ETag"]
    return client.put(ROUTING, json={"rules": rules}, headers={"If-Match": tag}, params=parameters)


def problems(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_there_are_no_rules_until_somebody_writes_some(admin):
    answer = admin.get(ROUTING)
    assert answer.headers["ETag"] == '"0"'
    assert answer.json()["document"] == {"rules": []}
    assert admin.get(f"{ROUTING}/versions").json()["items"] == []
    assert put(admin, tag='"0"').json()["version"] == 0


def test_rules_have_versions_a_history_and_a_way_back(api, admin):
    answer = put(admin, RULE, comment="the first")
    assert (answer.headers["ETag"], answer.json()["comment"]) == ('"1"', "the first")
    document = RoutingDocument.model_validate(answer.json()["document"])
    assert document == RoutingDocument.model_validate({"rules": [RULE]})
    assert put(admin, RULE).json()["version"] == 1
    rt = RULE | {"name": "rt", "when": {"not": CT}}
    put(admin, rt, RULE | {"stop": True})
    put(admin, RULE | {"stop": True}, rt)
    put(admin, rt)
    shown = admin.get(f"{ROUTING}/versions").json()["items"]
    assert [
        (one["version"], one["added"], one["removed"], one["changed"], one["reordered"])
        for one in shown
    ] == [
        (4, [], ["ct"], [], False),
        (3, [], [], [], True),
        (2, ["rt"], [], ["ct"], False),
        (1, ["ct"], [], [], False),
    ]
    assert shown[0]["created_by"] == "admin"
    assert admin.get(f"{ROUTING}/versions/1").json()["document"] == answer.json()["document"]
    assert admin.get(f"{ROUTING}/versions/9").status_code == 404
    restored = admin.post(f"{ROUTING}/versions/1/restore", headers={"If-Match": '"4"'})
    assert restored.json()["document"] == answer.json()["document"]
    assert restored.json()["comment"] == "version 1 again"
    assert ("admin", "routing.update", "2: added rt; changed ct") in api.actions()


def test_a_client_must_say_what_it_read_and_have_read_the_newest(admin):
    assert admin.put(ROUTING, json={"rules": [RULE]}).status_code == 428
    put(admin, RULE)
    assert put(admin, tag='"0"').status_code == 412
    assert put(admin, tag="*").status_code == 200
    missing = admin.post(f"{ROUTING}/versions/1/restore")
    assert missing.status_code == 428


def test_what_is_wrong_is_said_by_field_and_nothing_changes(admin):
    wrong = RULE | {"when": {"all": [CT, {"not": CT | {"operator": "<"}}]}}
    found = problems(put(admin, RULE, wrong | {"name": "other"}))
    assert "does not fit Modality" in found["rules.1.when.all.1.not.operator"]
    assert "earlier rule" in problems(put(admin, RULE, RULE))["rules.1.name"]
    huge = RULE | {"name": "x" * 300_000}
    assert "characters" in problems(put(admin, huge))["body"]
    deep = CT
    for _ in range(200):
        deep = {"not": deep}
    assert problems(put(admin, RULE | {"when": deep})) == {"body": "is nested too deeply"}
    assert admin.get(ROUTING).json()["version"] == 0


def test_rules_of_a_later_release_are_refused_and_give_way_to_an_earlier_version(api, admin):
    put(admin, RULE)
    with api.database.session() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO routing_documents (version, document, created_by)"
            """ VALUES (2, '{"rules": [{"name": "a", "colour": "red"}]}', 'system')"""
        )
        session.commit()
    answer = admin.get(ROUTING)
    assert answer.status_code == 409
    assert "rules.0.colour" in answer.json()["detail"]
    restored = admin.post(f"{ROUTING}/versions/1/restore", headers={"If-Match": "*"})
    assert restored.json()["version"] == 3
    assert admin.get(ROUTING).status_code == 200


def test_presets_are_rules_that_can_be_saved(admin):
    presets = admin.get(f"{ROUTING}/presets").json()
    assert len(presets) == 3
    assert put(admin, *(preset["rule"] for preset in presets)).status_code == 200
