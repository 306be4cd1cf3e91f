"""The rules of routing over REST: versions, roll-back, problems beside fields, explanation.

The rules themselves are in tests/unit/shared/routing and tests/property/test_routing.py.
"""

import json

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from draw_api import admin as draw_admin
from draw_shared.routing.document import RoutingDocument
from support import datasets
from support.indexed import IndexedStorage
from support.routing_documents import with_destinations

pytestmark = pytest.mark.integration

ROUTING = "/api/v1/routing"
CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
RULE = {"name": "ct", "when": CT, "destinations": ["contouring"]}


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def put(client, *rules, tag=None, **parameters):
    tag = tag or client.get(ROUTING).headers["ETag"]
    body = with_destinations({"rules": rules})
    return client.put(ROUTING, json=body, headers={"If-Match": tag}, params=parameters)


def problems(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_there_are_no_rules_until_somebody_writes_some(admin):
    answer = admin.get(ROUTING)
    assert answer.headers["ETag"] == '"0"'
    assert answer.json()["document"] == {"destinations": [], "rules": []}
    assert admin.get(f"{ROUTING}/versions").json()["items"] == []
    assert put(admin, tag='"0"').json()["version"] == 0


def test_rules_have_versions_a_history_and_a_way_back(api, admin):
    answer = put(admin, RULE, comment="the first")
    assert (answer.headers["ETag"], answer.json()["comment"]) == ('"1"', "the first")
    document = RoutingDocument.model_validate(answer.json()["document"])
    assert document == RoutingDocument.read(with_destinations({"rules": [RULE]}))
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
    for bottomless in ("[" * 100_000 + "]" * 100_000, '{"not":' * 100_000):
        sent = f'{{"rules": [{{"name": "a", "stop": true, "when": {bottomless}}}]}}'
        headers = {"If-Match": "*", "Content-Type": "application/json"}
        assert 400 <= admin.put(ROUTING, content=sent, headers=headers).status_code < 500
    assert admin.get(ROUTING).json()["version"] == 0


@pytest.mark.parametrize("place", ["", "objects/x", "..", "a/../objects", "linked", "-beside"])
def test_a_folder_does_not_overlap_the_storage(api, admin, place):
    root = api.settings.storage_root
    (root.parent / f"{root.name}-linked").symlink_to(root)
    path = {"linked": f"{root}-linked/x", "-beside": f"{root}-beside"}.get(place, f"{root}/{place}")
    folder = {"kind": "folder", "name": "folder", "path": path}
    chain = {"kind": "celery", "name": "chain", "task": "a", "place": {"path": path}}
    for destination, field in ((folder, "path"), (chain, "place.path")):
        sent = {"destinations": [destination]}
        answer = admin.put(ROUTING, json=sent, headers={"If-Match": "*"})
        if place == "-beside":
            assert answer.status_code == 200
        else:
            words = "the folder and the storage lie one inside the other"
            assert problems(answer) == {f"destinations.0.{field}": words}


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


@pytest.fixture
def series(api):
    """Two slices, of which one is a localizer, with elements that the index does not have."""
    first, second = datasets.series(2)
    for each, kind in ((first, "AXIAL"), (second, "LOCALIZER")):
        each.Modality = "CT"
        each.SeriesDescription = "Schädel nativ"
        each.SpecificCharacterSet = "ISO_IR 100"
        each.StudyDate = "20261130"
        each.ImageType = ["ORIGINAL", "PRIMARY", kind]
        each.KVP = "120"
        each.SmallestImagePixelValue = 3
        item = Dataset()
        item.CodeValue = "T-D1100"
        each.ProcedureCodeSequence = Sequence([item])
    archive = IndexedStorage(api.settings.storage_root, api.database)
    archive.receive(first, second)
    archive.close()
    return first


def explain(client, series, *rules, **more):
    body = {"series_instance_uid": series.SeriesInstanceUID, **more}
    if rules:
        body["document"] = with_destinations({"rules": rules})
    return client.post(f"{ROUTING}/explain", json=body)


def test_rules_are_explained_with_the_values_of_a_series(api, series):
    viewer = api.of_role("viewer")
    conditions = [
        CT,
        {"subject": "SeriesDescription", "operator": "equals", "value": "SCHÄDEL NATIV"},
        {"subject": "StudyDate", "operator": ">=", "value": "20261130"},
        {"subject": "ImageType", "operator": "contains", "value": "axial"},
        {"subject": "KVP", "operator": ">", "value": 100},
        {"subject": "SmallestImagePixelValue", "operator": "equals", "value": 3},
        {"subject": "ProcedureCodeSequence.CodeValue", "operator": "equals", "value": "T-D1100"},
        {"subject": "ProcedureCodeSequence", "operator": "is_empty", "value": False},
        {"subject": "instances", "operator": "equals", "value": 2},
        {"subject": "unreadable", "operator": "equals", "value": False},
        {"subject": "ImageType", "operator": "does_not_contain", "value": "LOCALIZER"},
    ]
    rules = [
        {"name": "all", "when": {"all": conditions}, "destinations": ["a"]},
        {"name": "none", "when": {"not": CT}, "destinations": ["b"]},
        {"name": "rest", "destinations": ["c"]},
    ]
    answer = explain(viewer, series, *rules).raise_for_status().json()
    assert (answer["version"], answer["destinations"]) == (None, ["c"])
    outcomes = [(rule["name"], rule["outcome"]) for rule in answer["rules"]]
    assert outcomes == [("all", "does_not_apply"), ("none", "does_not_apply"), ("rest", "applies")]
    seen = answer["rules"][0]["condition"]["within"]
    assert [(one["subject"], one["held"]) for one in seen if not one["held"]] == [
        ("ImageType", False)
    ]
    by_subject = {one["subject"]: one["seen"] for one in seen}
    assert set(by_subject["ImageType"]) == {"ORIGINAL", "PRIMARY", "AXIAL", "LOCALIZER"}
    assert by_subject["KVP"] == ["120"]
    assert by_subject["SeriesDescription"] == ["Schädel nativ"]
    assert ("routing.explain", series.SeriesInstanceUID) in [a[1:] for a in api.actions()]


def test_rules_in_force_are_explained_unless_others_are_given(api, admin, series):
    assert explain(admin, series).json()["version"] == 0
    put(admin, RULE)
    answer = explain(admin, series).json()
    assert (answer["version"], answer["destinations"]) == (1, ["contouring"])
    group = {"kind": "group", "name": "both", "mode": "all", "members": ["a", "b"]}
    folders = [{"kind": "folder", "name": n, "path": f"/var/lib/handlers/{n}"} for n in "ab"]
    document = {"destinations": [*folders, group], "rules": [RULE | {"destinations": ["both"]}]}
    answer = explain(admin, series, document=document).json()
    assert answer["destinations"] == ["a", "b"]
    wrong = explain(admin, series, RULE, RULE)
    assert "earlier rule" in problems(wrong)["document.rules.1.name"]
    wrong = explain(admin, series, RULE | {"when": CT | {"operator": "<"}})
    assert "document.rules.0.when.operator" in problems(wrong)
    nowhere = admin.post(f"{ROUTING}/explain", json={"series_instance_uid": "1.2.3"})
    assert nowhere.status_code == 404


def test_a_series_whose_file_cannot_be_read_leaves_rules_undecided(api, admin, series):
    for file in (api.settings.storage_root / "objects").rglob("*.dcm"):
        file.write_bytes(b"nothing")
    voltage = {"subject": "KVP", "operator": "not_equals", "value": 80}
    unreadable = {"subject": "unreadable", "operator": "equals", "value": True}
    rules = [
        RULE | {"name": "voltage", "when": voltage},
        RULE | {"name": "damaged", "when": unreadable, "destinations": ["desk"]},
    ]
    answer = explain(admin, series, *rules).json()
    assert [rule["outcome"] for rule in answer["rules"]] == ["undecided", "applies"]
    assert (answer["unreadable"], answer["destinations"]) == (True, ["desk"])


def test_an_administrator_asks_at_a_shell(api, admin, series, tmp_path, capsys, monkeypatch):
    # It would hold for the tests after this one.
    monkeypatch.setattr(draw_admin.logging, "configure", lambda *_, **__: None)
    monkeypatch.setenv("DRAW_DATABASE_URL", api.settings.database_url.get_secret_value())
    monkeypatch.setenv("DRAW_BROKER_URL", "amqp://unused.invalid")
    monkeypatch.setenv("DRAW_STORAGE_ROOT", str(api.settings.storage_root))
    put(admin, RULE)
    assert draw_admin.main(["routing", "explain", "--series", series.SeriesInstanceUID]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "version 1: contouring",
        "ct: applies (to contouring)",
        '  yes Modality equals "CT": CT',
    ]
    (tmp_path / "rules.json").write_text(
        json.dumps(with_destinations({"rules": [RULE | {"when": {"not": CT}, "stop": True}]}))
    )
    file = next((api.settings.storage_root / "objects").rglob("*.dcm"))
    command = ["routing", "explain", str(file), "--document", str(tmp_path / "rules.json")]
    assert draw_admin.main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rules that are not saved: no destination",
        "ct: does not apply (to contouring, and stops)",
        "  no  not",
        '    yes Modality equals "CT": CT',
    ]
    (tmp_path / "rules.json").write_text('{"rules": [{"name": "a", "when": {}}]}')
    assert draw_admin.main(command) == 1
    assert "rules.0.when must be a condition" in capsys.readouterr().err
    assert draw_admin.main(["routing", "explain"]) == 1
    assert "either a file or --series" in capsys.readouterr().err
