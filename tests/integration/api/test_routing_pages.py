"""The pages of routing without JavaScript: rules in their order, today's counts, history.

How they look in a browser is in tests/e2e/test_page_activity.py; what rules say is elsewhere.
"""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import text

from draw_api.models.paging import encode_cursor
from draw_api.services import routing_trials
from support import datasets
from support.indexed import IndexedStorage
from support.routing_documents import with_destinations

pytestmark = pytest.mark.integration

ROUTING = "/api/v1/routing"
CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
NAME = 'of CT "<b>" \N{GREEK SMALL LETTER OMEGA}&/?'
RULES = (
    {"name": NAME, "when": CT, "destinations": ["contouring"]},
    {"name": "of MR", "when": {"not": CT}, "destinations": ["archive"], "stop": True},
    {"name": "all", "destinations": ["archive"]},
)
DECIDE = text(
    "INSERT INTO routing_decisions (routing_version, trigger, applied, decided_at)"
    " VALUES (1, 'series_complete', :applied, :at)"
)


@pytest.fixture
def admin(shared_api):
    client = shared_api.of_role("admin")
    put(client, *RULES)
    return client


def put(client, *rules):
    body = with_destinations({"rules": rules})
    client.put(ROUTING, json=body, headers={"If-Match": "*"}).raise_for_status()


def rules(client):
    return client.get(ROUTING).json()["document"]["rules"]


def names(client):
    return [rule["name"] for rule in rules(client)]


def hidden(page, action, name=""):
    """Return the hidden fields of the form that leads to an address, of a rule if it is said."""
    there = re.escape(html.escape(action))
    for form in re.findall(rf'<form[^>]* action="{there}".*?</form>', page, re.DOTALL):
        pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
        found = {key: html.unescape(value) for key, value in pairs}
        if not name or found.get("name") == name:
            yield found


def row(page, name):
    """Return the row of a rule."""
    [found] = [
        one
        for one in re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)
        if f"<bdi>{html.escape(name, quote=True).replace('&quot;', '&#34;')}</bdi>" in one
    ]
    return html.unescape(found)


def test_rules_are_listed_in_their_order_with_their_conditions_in_words(admin, shared_api):
    page = admin.get("/routing").text
    places = [page.index(f"{number}. <a ") for number in (1, 2, 3)]
    assert places == sorted(places)
    assert 'Modality equals "CT"' in row(page, NAME)
    assert "contouring" in row(page, NAME)
    assert 'not (Modality equals "CT")' in row(page, "of MR")
    assert "later rules are not looked at" in row(page, "of MR")
    assert "always" in row(page, "all")
    assert "<b>" not in page
    viewer = shared_api.of_role("viewer").get("/routing").text
    assert 'Modality equals "CT"' in row(viewer, NAME)
    assert "/routing/rule/" not in viewer


def test_rules_move_are_switched_and_removed(admin):
    page = admin.get("/routing").text
    up, down = hidden(page, "/routing/rule/move", "of MR")
    assert admin.post("/routing/rule/move", data=up).status_code == 303
    assert names(admin) == ["of MR", NAME, "all"]
    late = admin.post("/routing/rule/move", data=down)
    assert late.status_code == 412
    assert "The rules have changed since you read them" in late.text
    assert names(admin) == ["of MR", NAME, "all"]

    [off] = hidden(admin.get("/routing").text, "/routing/rule/switch", "of MR")
    admin.post("/routing/rule/switch", data=off)
    assert [rule["active"] for rule in rules(admin)] == [False, True, True]
    shown = admin.get("/routing").text
    assert "passed over" in shown
    assert "Off" in row(shown, "of MR")
    [on] = hidden(shown, "/routing/rule/switch", "of MR")
    admin.post("/routing/rule/switch", data=on)
    assert rules(admin)[0]["active"]

    asked = admin.get("/routing/rule/remove", params={"name": NAME})
    [sure] = hidden(asked.text, "/routing/rule/remove")
    assert admin.post("/routing/rule/remove", data=sure).status_code == 303
    assert names(admin) == ["of MR", "all"]
    assert admin.get("/routing/rule/remove", params={"name": NAME}).status_code == 404
    again = sure | {"version": str(admin.get(ROUTING).json()["version"])}
    assert admin.post("/routing/rule/remove", data=again).status_code == 404


@pytest.mark.parametrize("version", ["", "x", "0"])
def test_a_form_that_does_not_say_what_was_read_changes_nothing(admin, version):
    typed = {"name": "all", "active": "false", "version": version}
    assert admin.post("/routing/rule/switch", data=typed).status_code in {412, 428}
    assert rules(admin)[2]["active"]


def zone_in_which_it_is(hour, now):
    """Return the name of a zone in whose day this hour has begun."""
    offset = (hour - now.hour + 11) % 24 - 11
    # In these names what lies east of Greenwich is negative.
    return f"Etc/GMT{-offset:+d}"


def test_todays_decisions_are_counted_by_rule_in_the_day_of_the_visitor(
    admin, shared_api, monkeypatch
):
    now = datetime.now(UTC)
    with shared_api.database.session() as session:
        for hours, applied in ((0, [NAME, "all"]), (2, ["all"]), (25, ["all"])):
            at = now - timedelta(hours=hours)
            session.connection().execute(DECIDE, {"applied": applied, "at": at})
        session.commit()

    def counts(zone):
        page = admin.get("/routing", params={"zone": zone}).text
        assert ("Today (UTC)" in page) == (not zone.startswith("Etc/"))
        return [re.search(r">(\d+[+]?)</td>", row(page, one))[1] for one in (NAME, "of MR", "all")]

    assert counts(zone_in_which_it_is(0, now)) == ["1", "0", "1"]
    assert counts(zone_in_which_it_is(12, now)) == ["1", "0", "2"]
    assert counts("Nowhere") == counts("")
    monkeypatch.setattr(routing_trials, "MAX_COUNTED_DECISIONS", 1)
    assert counts(zone_in_which_it_is(12, now)) == ["1+", "0+", "1+"]


def test_history_says_what_changed_and_leads_back(admin):
    before = admin.get(ROUTING).json()["version"]
    put(admin, *RULES[::-1][:2])
    page = admin.get("/routing/history").text
    assert "Rules removed:" in page
    assert html.escape(NAME).replace("&quot;", "&#34;") in page
    assert "another order" in page
    back = f"/routing/history/{before}/restore"
    [sure] = hidden(admin.get(back).text, back)
    put(admin, RULES[2])
    assert admin.post(back, data=sure).status_code == 412
    [sure] = hidden(admin.get(back).text, back)
    assert admin.post(back, data=sure).status_code == 303
    assert names(admin) == [rule["name"] for rule in RULES]
    assert admin.get("/routing/history/999999/restore").status_code == 404


@pytest.mark.parametrize(
    "document",
    [
        {"rules": [{"name": "a", "colour": "red"}]},
        {"rules": [{"title": "a"}, 5, None], "destinations": {"a": {"remote_node": "x"}}},
        {"rules": {"a": {}}, "destinations": ["x", {"name": {}}]},
        {"rules": None, "destinations": None},
        {},
    ],
)
def test_rules_of_a_later_release_are_said_and_lead_to_the_history(admin, shared_api, document):
    before = admin.get(ROUTING).json()["version"]
    with shared_api.database.session() as session:
        session.connection().execute(
            text(
                "INSERT INTO routing_documents (version, document, created_by)"
                " VALUES (:version, CAST(:document AS jsonb), 'system')"
            ),
            {
                "version": before + 1,
                "document": json.dumps(document),
            },
        )
        session.commit()
    page = admin.get("/routing")
    assert page.status_code == 200
    assert document == {} or "is of another release" in page.text
    assert f"/routing/history/{before}/restore" in admin.get("/routing/history").text
    node = admin.post("/api/v1/nodes", json=NODE | {"name": "later"}).raise_for_status().json()
    assert admin.delete(f"/api/v1/nodes/{node['id']}").status_code == 204
    back = f"/routing/history/{before}/restore"
    [sure] = hidden(admin.get(back).text, back)
    assert admin.post(back, data=sure).status_code == 303
    assert names(admin) == [rule["name"] for rule in RULES]


def entries(page):
    """Return what the form of a rule or destination has in its fields."""
    [form] = re.findall(r'<form class="stack" method="post".*?</form>', page, re.DOTALL)
    found = {}
    for tag in re.findall(r"<input [^>]*>", form):
        said = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if said.get("type") not in {"checkbox", "radio"} or " checked" in tag:
            found.setdefault(said["name"], []).append(html.unescape(said.get("value", "on")))
    for name, text_ in re.findall(r'<textarea[^>]* name="([^"]*)"[^>]*>([^<]*)<', form):
        found[name] = html.unescape(text_)
    selects = r'<select[^>]* name="([^"]*)"[^>]*>(.*?)</select>'
    for name, options in re.findall(selects, form, re.DOTALL):
        # A browser sends the first one if none is chosen.
        chosen = re.search(r'value="([^"]*)" selected', options) or re.search(
            r'value="([^"]*)"', options
        )
        found[name] = html.unescape(chosen[1])
    return found


def errors(page):
    """Return the problems beside fields by their names."""
    found = re.findall(r'<div id="h-([^"]*)">\s*<p class="error">([^<]*)<', page)
    return {name: html.unescape(words) for name, words in found}


def edit_of(name):
    return f"/routing/rule/edit?{urlencode({'name': name})}"


def test_a_rule_is_added_with_rows_of_conditions(admin):
    page = admin.get("/routing/rule/new").text
    typed = entries(page) | {
        "name": "typed", "subject.0": "Modality", "value.0": "CT", "destination": ["archive"],
    }  # fmt: skip
    more = admin.post("/routing/rule/new", data=typed | {"do": "add"})
    assert more.status_code == 200
    assert "typed" not in names(admin)
    typed = entries(more.text) | {
        "joined": "any", "subject.1": "SliceThickness", "operator.1": "<=", "value.1": "2.5",
        "not.1": "on", "comment": "because",
    }  # fmt: skip
    typed = entries(admin.post("/routing/rule/new", data=typed | {"do": "add"}).text)
    assert typed["subject.2"] == [""]
    less = entries(admin.post("/routing/rule/new", data=typed | {"do": "remove.2"}).text)
    assert "subject.2" not in less
    assert admin.post("/routing/rule/new", data=less | {"do": "save"}).status_code == 303
    made = rules(admin)[-1]
    assert (made["name"], made["destinations"]) == ("typed", ["archive"])
    usual = {"case_sensitive": False, "of": None}
    thin = {"subject": "SliceThickness", "operator": "<=", "value": 2.5}
    assert made["when"] == {"any": [CT | usual, {"not": thin | usual}]}
    [newest] = admin.get(f"{ROUTING}/versions", params={"limit": 1}).json()["items"]
    assert (newest["added"], newest["comment"]) == (["typed"], "because")


def test_a_rule_that_is_saved_as_it_was_opened_is_not_changed(admin):
    deep = {"any": [{"all": [CT, {"not": CT}]}, CT]}
    put(admin, *RULES, {"name": "deep", "when": deep, "destinations": ["contouring"]})
    before = admin.get(ROUTING).json()
    for name in names(admin):
        typed = entries(admin.get(edit_of(name)).text)
        saved = admin.post(edit_of(name), data=typed | {"do": "save"}, follow_redirects=True)
        assert (saved.status_code, "Nothing was changed." in saved.text) == (200, True)
    back = f"/routing/history/{before['version']}/restore"
    [sure] = hidden(admin.get(back).text, back)
    restored = admin.post(back, data=sure, follow_redirects=True)
    assert "as a new version" not in restored.text
    assert admin.get(ROUTING).json() == before


def test_a_rule_is_renamed_in_its_place(admin):
    typed = entries(admin.get(edit_of(NAME)).text) | {"name": "short"}
    assert admin.post(edit_of(NAME), data=typed).status_code == 303
    assert names(admin) == ["short", "of MR", "all"]
    assert admin.get(edit_of(NAME)).status_code == 404


def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_kept(admin):
    page = admin.get(edit_of(NAME)).text
    wrong = {
        "name": "all", "subject.0": "Modality", "operator.0": "<", "value.0": "CT",
        "subject.1": "Nonsense", "value.1": "kept", "subject.2": "instances", "operator.2": ">",
        "value.2": "two", "operator.1": "equals", "subject.3": "", "value.3": "",
        "subject.4": "SeriesDescription", "operator.4": "matches", "value.4": "(",
    }  # fmt: skip
    refused = admin.post(edit_of(NAME), data=entries(page) | wrong | {"do": "save"})
    assert refused.status_code == 422
    found = errors(refused.text)
    assert "does not fit Modality" in found["operator.0"]
    assert "neither a keyword nor a tag" in found["subject.1"]
    assert "must be a number" in found["value.2"]
    assert "value.4" in found
    assert entries(refused.text)["value.1"] == ["kept"]
    assert names(admin)[0] == NAME
    right = entries(page) | {"name": "all", "do": "save"}
    right.pop("destination")
    found = errors(admin.post(edit_of(NAME), data=right).text)
    assert "an earlier rule" in html.unescape(admin.post(edit_of(NAME), data=right).text)
    assert "needs a destination" in found["destinations"]


def test_conditions_are_written_as_text_and_back(admin):
    page = admin.get(edit_of("of MR")).text
    as_text = entries(admin.post(edit_of("of MR"), data=entries(page) | {"do": "text"}).text)
    assert json.loads(as_text["text"]) == {"not": CT}
    broken = admin.post(edit_of("of MR"), data=as_text | {"text": '{"not": ', "do": "save"})
    assert "is not JSON: line 1, column 8" in errors(broken.text)["when"]
    assert entries(broken.text)["text"] == '{"not":'
    for text_, words in (
        ('{"all": [{"subject": "Modality", "operator": "<", "value": 1}]}', "all.0.operator: does"),
        ("[1, 2]", "must be a condition"),
        ("[" * 50_000, "is not JSON"),
        ('{"not": ' * 60 + "{}" + "}" * 60, "nested too deeply"),
    ):
        for do in ("save", "rows"):
            refused = admin.post(edit_of("of MR"), data=as_text | {"text": text_, "do": do})
            assert refused.status_code == 422
            assert words in html.unescape(refused.text)
    deep = {"any": [{"all": [CT, CT]}, CT]}
    asked = as_text | {"text": json.dumps(deep), "do": "rows"}
    assert (
        "cannot be written as rows" in errors(admin.post(edit_of("of MR"), data=asked).text)["when"]
    )
    assert admin.post(edit_of("of MR"), data=asked | {"do": "save"}).status_code == 303
    assert set(rules(admin)[1]["when"]) == {"any"}
    flat = as_text | {"text": json.dumps({"all": [CT, {"not": CT}]}), "do": "rows"}
    rows = entries(admin.post(edit_of("of MR"), data=flat).text)
    assert (rows["subject.1"], rows["not.1"]) == (["Modality"], ["on"])


def test_nonsense_in_a_form_is_refused_and_who_may_not_save_sees_no_form(admin, shared_api):
    typed = entries(admin.get(edit_of(NAME)).text) | {"subject." + "9" * 5000: "Modality"}
    assert admin.post(edit_of(NAME), data=typed | {"do": "add"}).status_code == 200
    for role in ("viewer", "operator"):
        client = shared_api.of_role(role)
        sent = typed | {"csrf_token": client.headers["X-CSRF-Token"], "about": "1.2.3"}
        for there in ("try", "replay", "edit", "new"):
            answer = client.post(f"/routing/rule/{there}", params={"name": NAME}, data=sent)
            assert answer.status_code == 403
            assert 'name="subject.0"' not in answer.text


def test_a_name_has_no_blanks_at_its_ends(admin):
    before = admin.get(ROUTING).json()
    for names_, field in ((" all", "x"), "rules.0.name"), (("x", "all "), "destinations.0.name"):
        body = with_destinations({"rules": [{"name": names_[0], "destinations": [names_[1]]}]})
        answer = admin.put(ROUTING, json=body, headers={"If-Match": "*"})
        assert answer.status_code == 422
        words = "must not begin or end with a blank"
        assert answer.json()["errors"] == [{"field": field, "message": words}]
    assert admin.get(ROUTING).json() == before


def test_of_two_editors_the_second_is_told_and_keeps_what_was_typed(admin):
    one, other = (entries(admin.get(edit_of(name)).text) for name in ("of MR", NAME))
    admin.post(edit_of("of MR"), data=one | {"value.0": "MR"})
    refused = admin.post(edit_of(NAME), data=other | {"value.0": "PT"})
    assert refused.status_code == 412
    assert "Somebody else has changed the rules meanwhile" in refused.text
    typed = entries(refused.text)
    assert typed["value.0"] == ["PT"]
    assert admin.post(edit_of(NAME), data=typed).status_code == 303
    assert [
        rule["when"] and str(rule["when"]).count(word)
        for rule, word in zip(rules(admin), ("'PT'", "'MR'"), strict=False)
    ] == [1, 1]

    late = entries(admin.get(edit_of(NAME)).text)
    put(admin, *RULES[1:])
    refused = admin.post(edit_of(NAME), data=late | {"value.0": "US"})
    assert refused.status_code == 412
    typed = entries(refused.text)
    assert typed["value.0"] == ["US"]
    assert 'action="/routing/rule/new"' in refused.text
    typed.pop("destination", None)
    assert admin.post("/routing/rule/new", data=typed | {"stop": "on"}).status_code == 303
    assert names(admin) == ["of MR", "all", NAME]


def test_rules_to_begin_with_fill_the_form(admin):
    page = admin.get("/routing/rule/new").text
    presets = re.findall(r'href="(/routing/rule/new[?]preset=\d)"', page)
    assert len(presets) == 3
    for preset in presets:
        typed = entries(admin.get(preset).text)
        assert typed["written"] == ["rows"]
        saved = admin.post("/routing/rule/new", data=typed | {"stop": "on", "do": "save"})
        assert saved.status_code == 303
    assert names(admin)[-3:] == [
        "Planning CT without localizer", "RT objects back to the planning system",
        "Everything of one scanner",
    ]  # fmt: skip
    assert admin.get("/routing/rule/new?preset=99").status_code == 422


@pytest.fixture(scope="module")
def series(shared_api):
    """A series of CT in the archive."""
    [found] = datasets.series(1)
    found.Modality = "CT"
    storage = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    storage.receive(found)
    storage.close()
    return found


def test_a_rule_is_tried_before_it_is_saved(admin, series):
    before = admin.get(ROUTING).json()
    page = admin.get(edit_of("of MR")).text
    typed = entries(page) | {"about": series.SeriesInstanceUID}
    refused = html.unescape(admin.post("/routing/rule/try?name=of+MR", data=typed).text)
    assert "Does not apply" in refused
    assert 'Modality equals "CT"' in refused
    assert "seen: <bdi>CT</bdi>" in refused
    typed.pop("not.0")
    shown = admin.post(
        "/routing/rule/try?name=of+MR", data=typed | {"about": series.SeriesInstanceUID}
    )
    assert re.search('id="tried".*?Applies', shown.text, re.DOTALL)
    assert entries(shown.text)["about"] == [series.SeriesInstanceUID]
    study = typed | {"trigger": "study_complete", "about": series.StudyInstanceUID}
    assert 'id="tried"' in admin.post("/routing/rule/try?name=of+MR", data=study).text
    for about, words in (
        ("", "is needed"), ("1.2.3", "no such series"), ("x", "must be"), ("1" * 99, "must"),
    ):  # fmt: skip
        refused = admin.post("/routing/rule/try?name=of+MR", data=typed | {"about": about})
        assert refused.status_code == 422
        assert words in errors(refused.text)["about"]
    wrong = admin.post("/routing/rule/try?name=of+MR", data=typed | {"operator.0": "<"})
    assert "does not fit" in errors(wrong.text)["operator.0"]
    new = entries(admin.get("/routing/rule/new").text)
    new |= {"name": "new", "about": series.SeriesInstanceUID, "destination": "archive"}
    assert "It has no condition" in admin.post("/routing/rule/try", data=new).text
    assert admin.get(ROUTING).json() == before


NEW = "/routing/destination/new"
DESTINATIONS = {
    "folder": {"path": "/var/lib/b", "files": "copy", "ready_marker": ".ready"},
    "celery": {"task": "a.b", "queue": "q", "place.path": "/var/lib/c", "place.files": "link",
               "place.ready_marker": ""},
    "node": {"remote_node": "PLANNING"},
    "priors": {"remote_node": "PLANNING", "months": "12", "modalities": "CT\r\nMR", "most": "2"},
}  # fmt: skip
NODE = {"name": "PLANNING", "ae_title": "PLAN", "host": "127.0.0.1", "port": 104}


def destinations(client):
    found = client.get(ROUTING).json()["document"]["destinations"]
    return {one["name"]: one for one in found}


def destination_at(name):
    return f"/routing/destination/edit?{urlencode({'name': name})}"


@pytest.fixture(scope="module")
def node(shared_api):
    client = shared_api.of_role("admin")
    return client.post("/api/v1/nodes", json=NODE).raise_for_status().json()


@pytest.fixture(scope="module")
def webhook(shared_api):
    client = shared_api.of_role("admin")
    body = {"url": "https://one.example/", "kinds": ["study.stable"]}
    return client.post("/api/v1/webhooks", json=body).raise_for_status().json()["id"]


def test_destinations_of_every_kind_are_added_and_opened_without_a_change(admin, node, webhook):
    asked = admin.get(NEW).text
    kinds = re.findall(r'href="/routing/destination/new[?]kind=(\w+)"', asked)
    assert {*DESTINATIONS, "webhook", "group"} <= set(kinds)
    typed = DESTINATIONS | {
        "webhook": {"webhook_id": str(webhook), "fields": "Modality\r\n(0008,103E)"},
        "group": {"mode": "failover", "members.1": "2", "members.2": "1"},
    }  # fmt: skip
    for kind, values in typed.items():
        filled = entries(admin.get(NEW, params={"kind": kind}).text)
        made = admin.post(NEW, data=filled | values | {"name": f"a {kind}"})
        assert made.status_code == 303, made.text
    made = destinations(admin)
    assert made["a folder"] | {"path": "/var/lib/b", "files": "copy"} == made["a folder"]
    assert made["a celery"]["place"]["path"] == "/var/lib/c"
    assert made["a node"]["remote_node"] == "PLANNING"
    assert made["a priors"]["modalities"] == ["CT", "MR"]
    assert made["a webhook"]["webhook_id"] == webhook
    assert made["a webhook"]["fields"] == ["Modality", "(0008,103E)"]
    assert made["a group"]["members"] == ["a folder", "archive"]
    before = admin.get(ROUTING).json()
    for name in made:
        filled = entries(admin.get(destination_at(name)).text)
        assert admin.post(destination_at(name), data=filled).status_code == 303
    assert admin.get(ROUTING).json() == before
    there = admin.get("/routing/destinations").text
    assert NEW in there
    for name in made:
        shown = admin.get(f"/routing/destinations/{quote(name)}").text
        assert f"/routing/destination/edit?{urlencode({'name': name})}" in shown
        assert f"/routing/destination/remove?{urlencode({'name': name})}" in shown


def test_what_is_wrong_with_a_destination_stands_beside_its_field(admin):
    filled = entries(admin.get(NEW, params={"kind": "celery"}).text)
    wrong = {"name": "archive", "task": " ", "give_up_after_days": "x", "place.path": "relative"}
    refused = admin.post(NEW, data=filled | wrong)
    assert refused.status_code == 422
    found = errors(refused.text)
    assert {"task", "give_up_after_days", "place.path"} <= found.keys()
    assert "absolute path" in found["place.path"]
    assert entries(refused.text)["place.path"] == ["relative"]
    filled = entries(admin.get(NEW, params={"kind": "folder"}).text)
    refused = admin.post(NEW, data=filled | {"name": "archive", "path": "/a"})
    assert "earlier destination" in errors(refused.text)["name"]
    filled = entries(admin.get(NEW, params={"kind": "group"}).text)
    refused = admin.post(NEW, data=filled | {"name": "none"})
    assert "must" in re.search(r'<p class="error">([^<]*)<', refused.text)[1]
    for kind in ("", "nonsense"):
        assert admin.post(NEW, data=filled | {"kind": kind}).status_code == 303


def test_rules_and_groups_follow_a_new_name_and_keep_their_destinations(admin):
    filled = entries(admin.get(NEW, params={"kind": "group"}).text)
    both = {"name": "both", "mode": "all", "members.0": "1", "members.1": "1"}
    assert admin.post(NEW, data=filled | both).status_code == 303
    filled = entries(admin.get(destination_at("archive")).text)
    assert admin.post(destination_at("archive"), data=filled | {"name": "old"}).status_code == 303
    assert [rule["destinations"] for rule in rules(admin)] == [["contouring"], ["old"], ["old"]]
    assert destinations(admin)["both"]["members"] == ["contouring", "old"]

    refused = admin.get("/routing/destination/remove", params={"name": "old"})
    assert refused.status_code == 409
    assert "old is still named by of MR, all, both" in refused.text
    version = str(admin.get(ROUTING).json()["version"])
    sent = {"name": "old", "version": version}
    assert admin.post("/routing/destination/remove", data=sent).status_code == 409
    asked = admin.get("/routing/destination/remove", params={"name": "both"}).text
    [sure] = hidden(asked, "/routing/destination/remove")
    assert admin.post("/routing/destination/remove", data=sure).status_code == 303
    assert set(destinations(admin)) == {"contouring", "old"}


def test_of_two_editors_of_a_destination_the_second_is_told(admin):
    one, other = (entries(admin.get(destination_at("archive")).text) for _ in range(2))
    admin.post(destination_at("archive"), data=one | {"path": "/one"})
    refused = admin.post(destination_at("archive"), data=other | {"path": "/other"})
    assert refused.status_code == 412
    assert "Somebody else has changed the rules meanwhile" in refused.text
    typed = entries(refused.text)
    assert admin.post(destination_at("archive"), data=typed).status_code == 303
    assert destinations(admin)["archive"]["path"] == "/other"
    assert admin.get(destination_at("nobody")).status_code == 404


def test_the_tester_says_for_each_rule_which_condition_held_and_what_it_saw(
    admin, shared_api, series
):
    viewer = shared_api.of_role("viewer")
    there = f"/studies/{series.StudyInstanceUID}"
    for page_, kind, uid in (
        (f"{there}/series/{series.SeriesInstanceUID}", "series", series.SeriesInstanceUID),
        (there, "study", series.StudyInstanceUID),
    ):
        asked = {"kind": kind, "uid": uid}
        assert f'href="/routing/test?{urlencode(asked)}"' in html.unescape(viewer.get(page_).text)
        shown = viewer.get("/routing/test", params=asked)
        assert shown.status_code == 200
        text_ = html.unescape(shown.text)
        cards = re.findall(r'aria-labelledby="h-rule-\d".*?</section>', text_, re.DOTALL)
        assert len(cards) == len(RULES)
        words = "Applies" if kind == "series" else "Another trigger"
        assert [words in card for card in cards] == [True, kind == "study", True]
        assert "seen: <bdi>CT</bdi>" in cards[0]
        assert "does not hold" in cards[1]
        assert ("contouring</bdi>, <bdi" in text_) == (kind == "series")
    missing = viewer.get("/routing/test", params={"kind": "study", "uid": "1.2.3"})
    assert missing.status_code == 422
    assert "The index has no such study." in missing.text
    wrong = viewer.get("/routing/test", params={"kind": "object", "uid": "x"})
    assert "must be" in errors(wrong.text)["uid"]
    assert viewer.get("/routing/test", params={"kind": "nonsense"}).status_code == 200


COMPLETE = text(
    "WITH done AS (UPDATE series SET stable_at = now() WHERE series_instance_uid = :series"
    " RETURNING series_instance_uid)"
    " INSERT INTO changes (kind, study_instance_uid, series_instance_uid, reason)"
    " SELECT 'series.stable', :study, series_instance_uid, 'quiet' FROM done"
)


@pytest.fixture(scope="module")
def complete(shared_api, series):
    """The series is complete."""
    values = {"series": series.SeriesInstanceUID, "study": series.StudyInstanceUID}
    with shared_api.database.session() as session:
        session.connection().execute(COMPLETE, values)
        session.commit()
    return series.SeriesInstanceUID


def cells(page, beginning):
    """Return the texts of the cells of a row that begins so."""
    [found] = re.findall(
        rf'<tr><th scope="row"[^>]*>(?:<a[^>]*>)?<\w+>{re.escape(beginning)}<.*?</tr>', page
    )
    return [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", found)]


def test_the_last_days_are_replayed_with_rules_in_force_earlier_ones_and_those_of_a_form(
    admin, complete
):
    before = admin.get(ROUTING).json()["version"]
    put(admin, {"name": "of CT", "when": CT, "destinations": ["new"]})
    asked = admin.get("/routing/replay").text
    [token] = hidden(asked, "/routing/replay")
    shown = admin.post("/routing/replay", data=token | {"days": "7", "version": ""})
    assert shown.status_code == 200
    assert cells(shown.text, "of CT") == ["1", "0", "0"]
    assert cells(shown.text, "new") == ["1", "0", "1", "0"]
    assert cells(shown.text, complete)[2:] == ["new", ""]
    old = admin.post("/routing/replay", data=token | {"days": "1", "version": str(before)})
    assert cells(old.text, "contouring")[0] == "1"
    assert f'value="{before}"' in admin.get(f"/routing/replay?version={before}").text
    for typed, field in (({"days": "9"}, "days"), ({"version": "999999"}, "version")):
        wrong = admin.post("/routing/replay", data=token | {"days": "7"} | typed)
        assert wrong.status_code == 422
        assert errors(wrong.text)[field]

    typed = entries(admin.get(edit_of("of CT")).text) | {"not.0": "on"}
    replayed = admin.post("/routing/rule/replay?name=of+CT", data=typed)
    assert replayed.status_code == 200
    assert cells(replayed.text, "of CT") == ["0", "0", "0"]
    assert entries(replayed.text)["not.0"] == ["on"]
    wrong = admin.post("/routing/rule/replay?name=of+CT", data=typed | {"operator.0": "<"})
    assert "does not fit" in errors(wrong.text)["operator.0"]


def test_rules_are_applied_to_the_archive_after_a_preview(admin, complete, shared_api):
    form = "/routing/batches/new"
    [token] = hidden(admin.get(form).text, "/routing/batches/preview")
    typed = token | {"modality": "CT", "rule": [NAME]}
    shown = admin.post("/routing/batches/preview", data=typed)
    assert shown.status_code == 200
    assert "1 series meets the criteria, 1 delivery." in shown.text
    [other] = hidden(shown.text, "/routing/batches/preview")
    for more in ({"modality": ""}, {"modality": "CT", "rule": []}, {"received_from": "2026-01-01"}):
        refused = admin.post(form, data=typed | other | more)
        assert refused.status_code == 409
        assert "has changed since the preview" in refused.text
    assert complete in shown.text
    [sure] = hidden(shown.text, "/routing/batches/preview")
    assert admin.get("/api/v1/routing/batches").json()["items"] == []

    put(admin, *RULES[:2])
    late = admin.post(form, data=sure | typed | sure)
    assert late.status_code == 409
    assert "The rules have changed since the preview" in late.text
    assert f'value="{html.escape(NAME)}" checked'.replace("&quot;", "&#34;") in late.text
    again = admin.post("/routing/batches/preview", data=typed).text
    [sure] = hidden(again, "/routing/batches/preview")
    assert admin.post(form, data=typed | sure).status_code == 303
    [made] = admin.get("/api/v1/routing/batches").json()["items"]
    assert (made["rules"], made["criteria"]["modality"]) == ([NAME], "CT")
    viewer = shared_api.of_role("viewer").get("/routing/batches").text
    assert "Running" in viewer
    assert "/cancel" not in viewer
    end = re.search(r'href="(/routing/batches/[^"]*/cancel)"', admin.get("/routing/batches").text)[
        1
    ]
    [sure] = hidden(admin.get(end).text, end)
    assert admin.post(end, data=sure).status_code == 303
    assert "Cancelled" in admin.get("/routing/batches").text
    assert admin.post(end, data=sure).status_code == 409


@pytest.mark.parametrize("path", ["/routing/batches", "/routing/deliveries", "/jobs", "/nodes"])
def test_a_page_of_a_list_refreshes_as_the_page_that_it_is(admin, path):
    moment = (datetime.now(UTC).isoformat(), "00000000-0000-4000-8000-000000000001")
    cursor = encode_cursor(*((1,) if path in {"/routing/deliveries", "/nodes"} else moment))
    asked = urlencode({"cursor": cursor, "before": "50", "trail": "0."})
    page = html.unescape(admin.get(f"{path}?{asked}").text)
    assert f'data-live="/live{path}?{asked}"' in page


def test_a_batch_that_cannot_be_made_is_refused_and_what_was_typed_is_kept(admin):
    [token] = hidden(admin.get("/routing/batches/new").text, "/routing/batches/preview")
    wrong = {
        "received_from": "2026-11-30T10:00", "received_to": "2026-11-30T09:00",
        "study_instance_uids": "1.2.3\r\nx",
    }  # fmt: skip
    refused = admin.post("/routing/batches/preview", data=token | wrong)
    assert refused.status_code == 422
    assert "must be" in errors(refused.text)["study_instance_uids"]
    wrong.pop("study_instance_uids")
    for field in ("received_from", "received_to"):
        refused = admin.post("/routing/batches/preview", data=token | {field: "30.11.2026"})
        assert refused.status_code == 422
        assert "must be" in errors(refused.text)[field]
        assert 'value="30.11.2026"' in refused.text
    refused = admin.post("/routing/batches/preview", data=token | wrong)
    assert "received_to must be later" in refused.text
    assert 'value="2026-11-30T10:00"' in refused.text
    refused = admin.post("/routing/batches/preview", data=token | {"rule": "nobody"})
    assert "is no active rule" in errors(refused.text)["rules"]
    put(admin, RULES[0] | {"active": False})
    assert "There is no active rule" in admin.post("/routing/batches/preview", data=token).text
