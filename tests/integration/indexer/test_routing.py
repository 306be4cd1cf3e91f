"""Decisions and deliveries: each change is looked at once, whatever happens meanwhile.

Not covered: conditions themselves (tests/unit/shared/routing, tests/property/test_routing.py), and
what becomes of a delivery (tests/integration/qr_worker).
"""

import itertools
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from draw_indexer.adapters.reader import ConfinedHeaderReader
from draw_indexer.services import routing_batches, routing_headers
from draw_indexer.services.routing_rules import RulesUnreadable
from draw_shared.db import session
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.routing.presets import PRESETS
from support import datasets
from support.forked import children
from support.indexed import IndexedStorage
from support.routed import Routed
from support.waiting import wait_until

pytestmark = pytest.mark.integration

CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
UNREADABLE = {"subject": "unreadable", "operator": "equals", "value": True}
RULE = {"name": "ct", "when": CT, "destinations": ["contouring"]}
WEEK = timedelta(days=7)


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path / "storage", database)
    yield made
    made.close()


@pytest.fixture
def routed(archive, database):
    """Routing that has begun at the end of an empty feed."""
    made = Routed(database, archive.root)
    made.decide()
    return made


def received(archive, count=2, **elements):
    objects = datasets.series(count)
    for one in objects:
        for keyword, value in elements.items():
            setattr(one, keyword, value)
    archive.receive(*objects)
    return objects


def files(archive):
    return [archive.root / path for path in archive.files()]


# --- series ----------------------------------------------------------------------------


def test_a_complete_series_is_decided_once_and_delivered_to_each_destination(archive, routed):
    objects = received(archive, 3, Modality="CT")
    other = received(archive, 1, Modality="MR")
    routed.put(RULE, RULE | {"name": "second", "destinations": ["archive", "contouring"]})
    sequence = routed.complete(objects[0].SeriesInstanceUID)
    routed.complete(other[0].SeriesInstanceUID)
    [decision] = routed.decide()
    series = objects[0].StudyInstanceUID, objects[0].SeriesInstanceUID, ""
    of = decision.study_instance_uid, decision.series_instance_uid, decision.sop_instance_uid
    assert of == series
    assert (decision.sequence, decision.batch_id) == (sequence, None)
    assert (decision.routing_version, decision.trigger) == (1, "series_complete")
    assert (decision.applied, decision.undecided) == (["ct", "second"], [])
    assert decision.destinations == ["contouring", "archive"]
    found = routed.deliveries()
    assert [one.destination for one in found] == ["contouring", "archive"]
    for one in found:
        assert (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid) == series
        assert (one.state, one.instance_count, one.payload) == ("pending", 3, {})
        assert abs(one.give_up_at - datetime.now(UTC) - WEEK) < timedelta(minutes=1)
    assert routed.wakes == [True]
    assert routed.position() == routed.last()
    assert len(routed.decide()) == 1
    assert routed.wakes == [True]
    assert (routed.sample("decisions_total"), routed.sample("deliveries_total")) == (1, 2)


def test_an_indexer_that_hangs_loses_its_turn_to_another(archive, routed, monkeypatch):
    monkeypatch.setattr(session, "MAX_IDLE_SECONDS", 0.5)
    routed.put(RULE)
    routed.complete(received(archive, Modality="CT")[0].SeriesInstanceUID)

    def hang():
        with routed.rows_of_feed.turn() as turn:
            assert routed.decide() == []
            assert wait_until(routed.decide, 30)
            turn.version()

    with pytest.raises(Transient):
        hang()
    assert len(routed.decisions()) == 1


def test_a_series_that_grows_is_decided_again(archive, routed):
    objects = datasets.series(3)
    uid = objects[0].SeriesInstanceUID
    grown = {"subject": "new_instances", "operator": "equals", "value": 2}
    routed.put(RULE, RULE | {"name": "grown", "when": grown})
    archive.receive(*objects[:1])
    first = routed.complete(uid)
    routed.decide()
    archive.receive(*objects[1:])
    second = routed.complete(uid, number=2)
    found = routed.decide()
    assert [(one.sequence, one.applied) for one in found] == [
        (first, ["ct"]),
        (second, ["ct", "grown"]),
    ]
    assert [one.instance_count for one in routed.deliveries()] == [1, 3]


def test_the_reason_of_the_change_decides_and_not_that_of_a_later_one(archive, routed):
    [one] = received(archive, 1)
    reason = {"subject": "reason", "operator": "equals", "value": "proved"}
    routed.put(RULE | {"when": reason})
    sequence = routed.complete(one.SeriesInstanceUID, "proved")
    routed.complete(one.SeriesInstanceUID, "quiet")
    assert [decision.sequence for decision in routed.decide()] == [sequence]


def test_a_series_that_was_deleted_meanwhile_decides_nothing(archive, routed):
    routed.put(RULE)
    [one] = received(archive, 1)
    routed.complete(one.SeriesInstanceUID)
    archive.delete(one.StudyInstanceUID)
    assert routed.decide() == []
    assert routed.position() == routed.last()


def test_what_happened_before_routing_began_or_without_rules_is_not_decided(archive, database):
    [one] = received(archive, 1)
    early = Routed(database, archive.root)
    early.complete(one.SeriesInstanceUID)
    early.put(RULE)
    assert early.decide() == []
    early.store({"rules": [RULE | {"active": False}]})
    early.complete(one.SeriesInstanceUID)
    assert early.decide() == []
    assert early.position() == early.last()
    early.put(RULE)
    sequence = early.complete(one.SeriesInstanceUID)
    assert [decision.sequence for decision in early.decide()] == [sequence]


def test_a_rule_that_stops_without_destination_is_a_decision_without_deliveries(archive, routed):
    routed.put({"name": "keep", "when": CT, "stop": True}, RULE)
    routed.complete(received(archive, 1)[0].SeriesInstanceUID)
    [decision] = routed.decide()
    assert (decision.applied, decision.destinations) == (["keep"], [])
    assert (routed.deliveries(), routed.wakes) == ([], [])


# --- destinations ----------------------------------------------------------------------


def test_groups_of_all_become_their_members_and_what_nobody_defines_stays(archive, routed):
    folder = {"kind": "folder", "path": "/var/lib/handlers/x", "give_up_after_days": 2}
    group = {"kind": "group", "members": ["a", "b"]}
    destinations = [
        folder | {"name": "a"},
        folder | {"name": "b"},
        group | {"name": "each", "mode": "all"},
        group | {"name": "one", "mode": "failover", "give_up_after_days": 14},
    ]
    document = {"rules": [RULE | {"destinations": ["each", "one", "gone", "a"]}]}
    routed.store(document | {"destinations": destinations})
    routed.complete(received(archive, 1)[0].SeriesInstanceUID)
    [decision] = routed.decide()
    assert decision.destinations == ["a", "b", "one", "gone"]
    days = {d.destination: (d.give_up_at - d.created_at).days for d in routed.deliveries()}
    assert days == {"a": 2, "b": 2, "one": 14, "gone": 7}


def test_a_webhook_is_told_the_values_of_its_fields_also_as_a_member_of_a_group(archive, routed):
    hook = {"kind": "webhook", "webhook_id": 1, "name": "hook"}
    fields = ["Modality", "00180060", "ImageType", "unreadable", "PatientComments"]
    folder = {"kind": "folder", "path": "/var/lib/handlers/x", "name": "folder"}
    group = {"kind": "group", "mode": "any", "members": ["hook", "folder"], "name": "either"}
    routed.put(
        RULE | {"destinations": ["hook", "either", "folder"]},
        destinations=[hook | {"fields": fields}, folder, group],
    )
    [one] = received(archive, 1, KVP="120", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    routed.complete(one.SeriesInstanceUID)
    routed.decide()
    told = {
        "Modality": ["CT"],
        "00180060": ["120"],
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "unreadable": ["false"],
        "PatientComments": [],
    }
    payloads = {d.destination: d.payload for d in routed.deliveries()}
    assert payloads == {"hook": told, "either": told, "folder": {}}


def test_values_that_no_database_holds_are_told_without_what_it_cannot(archive, routed):
    hook = {"kind": "webhook", "webhook_id": 1, "name": "hook", "fields": ["DeviceSerialNumber"]}
    routed.put(RULE | {"destinations": ["hook"]}, destinations=[hook])
    [one] = received(archive, 1, DeviceSerialNumber="a" * 2000)
    for file in files(archive):
        file.write_bytes(file.read_bytes().replace(b"a" * 2000, b"b\0c" + b"a" * 1997))
    routed.complete(one.SeriesInstanceUID)
    routed.decide()
    [delivery] = routed.deliveries()
    [value] = delivery.payload["DeviceSerialNumber"]
    assert value.startswith("bca")
    assert len(value) <= 1024


# --- studies and objects ---------------------------------------------------------------


def test_a_complete_study_is_judged_by_the_values_of_all_its_series(archive, routed):
    first = received(archive, 2, Modality="CT", KVP="80")
    second = datasets.series(1)
    second[0].StudyInstanceUID = first[0].StudyInstanceUID
    second[0].Modality, second[0].KVP = "MR", "120"
    archive.receive(*second)
    study = RULE | {"trigger": "study_complete"}
    conditions = [
        CT,
        CT | {"value": "MR"},
        {"subject": "instances", "operator": "equals", "value": 3},
        {"subject": "KVP", "operator": "equals", "value": 80},
        {"subject": "KVP", "operator": "equals", "value": 120},
        {"subject": "reason", "operator": "equals", "value": "quiet"},
        {"subject": "new_instances", "operator": "equals", "value": 3},
    ]
    routed.put(RULE, study | {"name": "study", "when": {"all": conditions}})
    sequence = routed.complete_study(first[0].StudyInstanceUID, number=3)
    [decision] = routed.decide()
    assert (decision.sequence, decision.trigger) == (sequence, "study_complete")
    assert decision.study_instance_uid == first[0].StudyInstanceUID
    assert (decision.series_instance_uid, decision.sop_instance_uid) == ("", "")
    assert decision.applied == ["study"]
    assert routed.deliveries()[0].instance_count == 3


def test_each_object_is_judged_by_its_own_values(archive, routed):
    first, second = datasets.series(2)
    first.ImageType, second.ImageType = ["ORIGINAL", "AXIAL"], ["ORIGINAL", "LOCALIZER"]
    first.KVP = second.KVP = "120"
    conditions = [
        {"subject": "ImageType", "operator": "equals", "value": "LOCALIZER"},
        {"subject": "KVP", "operator": "equals", "value": 120},
        {"subject": "instances", "operator": "equals", "value": 1},
    ]
    routed.put(RULE | {"trigger": "instance", "when": {"all": conditions}})
    archive.receive(first, second)
    [decision] = routed.decide()
    assert decision.trigger == "instance"
    assert decision.sop_instance_uid == second.SOPInstanceUID
    assert decision.series_instance_uid == second.SeriesInstanceUID
    assert routed.deliveries()[0].sop_instance_uid == second.SOPInstanceUID


@pytest.mark.parametrize(
    "localizer",
    [{"SeriesDescription": "Topogram 0.6"}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}],
)
@pytest.mark.parametrize("place", [0, 1])
def test_the_preset_sees_a_localizer_among_the_slices(archive, routed, localizer, place):
    usual = {"SeriesDescription": "Thorax", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    routed.put(PRESETS[0].rule.model_dump(mode="json", by_alias=True))
    for among in ((), (place,)):
        objects = datasets.series(3)
        for number, one in enumerate(objects):
            one.Modality = "CT"
            for keyword, value in (usual | (localizer if number in among else {})).items():
                setattr(one, keyword, value)
        for one in objects:
            archive.receive(one)
        routed.complete(objects[0].SeriesInstanceUID)
    assert [d.destinations for d in routed.decide()] == [["contouring"]]


def test_an_object_has_the_description_that_it_says_itself(archive, routed):
    first, second = datasets.series(2)
    first.SeriesDescription, second.SeriesDescription = "Thorax", "Topogram"
    topogram = {"subject": "SeriesDescription", "operator": "equals", "value": "Topogram"}
    routed.put(RULE | {"trigger": "instance", "when": topogram})
    for one in (first, second):
        archive.receive(one)
    [decision] = routed.decide()
    assert decision.sop_instance_uid == second.SOPInstanceUID


# --- what cannot be read ---------------------------------------------------------------


def test_a_header_that_cannot_be_read_leaves_a_rule_undecided_which_is_recorded(archive, routed):
    voltage = {"subject": "KVP", "operator": "not_equals", "value": 80}
    routed.put(RULE | {"name": "voltage", "when": voltage, "stop": True})
    [one] = received(archive, 1)
    for file in files(archive):
        file.write_bytes(b"nothing")
    assert routed.sample("undecided_total", rule="voltage") is None
    routed.complete(one.SeriesInstanceUID)
    [decision] = routed.decide()
    assert (decision.applied, decision.undecided) == ([], ["voltage"])
    assert (decision.destinations, routed.deliveries()) == ([], [])
    assert routed.sample("undecided_total", rule="voltage") == 1
    routed.put(RULE | {"name": "damaged", "when": UNREADABLE})
    routed.complete(one.SeriesInstanceUID)
    assert len(routed.decide()) == 1, "what the index has was read to its end"
    routed.put(RULE | {"name": "damaged", "when": {"any": [voltage, UNREADABLE]}})
    routed.complete(one.SeriesInstanceUID)
    assert [d.applied for d in routed.decide()] == [[], ["damaged"]]
    assert routed.sample("undecided_total", rule="voltage") is None


KVP = {"subject": "KVP", "operator": "equals", "value": 120}


def aside(archive, *, but=()):
    """Take the files of the archive away; return what brings them back."""
    moved = [(file, file.with_suffix(".aside")) for file in files(archive) if file not in but]
    for file, place in moved:
        file.rename(place)
    return lambda: [place.rename(file) for file, place in moved]


def test_a_file_that_is_away_holds_nothing_up_and_is_looked_at_again(archive, routed):
    by_file = RULE | {"name": "by file", "when": KVP, "destinations": ["a"]}
    routed.put(RULE, by_file, RULE | {"name": "damaged", "when": UNREADABLE})
    [away] = received(archive, 1, KVP="120")
    first = routed.complete(away.SeriesInstanceUID)
    bring_back = aside(archive)
    [here] = received(archive, 1, KVP="120")
    second = routed.complete(here.SeriesInstanceUID)
    found = routed.decide()
    assert [(d.sequence, d.applied, d.undecided) for d in found] == [
        (first, ["ct"], ["by file", "damaged"]),
        (second, ["ct", "by file"], []),
    ]
    assert [d.destination for d in routed.deliveries()] == ["contouring", "contouring", "a"]
    assert routed.position() == routed.last()
    assert (routed.sample("postponed"), routed.sample("lag_seconds")) == (1, 0)
    assert routed.sample("undecided_total", rule="by file") == 1
    routed.decide()
    assert len(routed.values.asked) == 2, "not due yet"
    routed.due()
    assert routed.decide() == found
    assert routed.sample("undecided_total", rule="by file") == 2, "the alert goes on"
    bring_back()
    routed.due()
    [found, _] = routed.decide()
    assert (found.applied, found.undecided) == (["ct", "by file"], [])
    assert found.destinations == ["contouring", "a"]
    assert len(routed.deliveries()) == 4
    assert (routed.sample("postponed"), routed.sample("decisions_total")) == (0, 2)
    assert routed.sample("deliveries_total") == 4


def test_what_the_index_decides_alone_is_not_looked_at_again(archive, routed):
    either = {"any": [CT, KVP]}
    routed.put(RULE | {"when": either})
    [one] = received(archive, 1, Modality="CT")
    routed.complete(one.SeriesInstanceUID)
    aside(archive)
    [decision] = routed.decide()
    assert (decision.applied, decision.undecided) == (["ct"], [])
    assert routed.sample("postponed") == 0


def test_the_rules_of_the_decision_are_asked_again_and_not_later_ones(archive, routed):
    routed.put(RULE | {"when": KVP})
    [yes] = received(archive, 1, KVP="120")
    [no] = received(archive, 1, KVP="80")
    for one in (yes, no):
        routed.complete(one.SeriesInstanceUID)
    bring_back = aside(archive)
    routed.decide()
    routed.put(RULE | {"name": "later", "when": None, "destinations": ["a"]})
    bring_back()
    routed.due()
    assert [(d.routing_version, d.applied, d.undecided) for d in routed.decide()] == [
        (1, ["ct"], []),
        (1, [], []),
    ]
    assert [d.destination for d in routed.deliveries()] == ["contouring"]


def test_rules_wait_behind_one_that_may_stop(archive, routed):
    keep = {"name": "keep", "when": KVP, "stop": True}
    routed.put(RULE, keep, RULE | {"name": "rest", "when": None, "destinations": ["a"]})
    objects = [received(archive, 1, KVP=voltage)[0] for voltage in ("120", "80")]
    for one in objects:
        routed.complete(one.SeriesInstanceUID)
    bring_back = aside(archive)
    assert [(d.applied, d.undecided) for d in routed.decide()] == [(["ct"], ["keep"])] * 2
    bring_back()
    routed.due()
    assert [d.destinations for d in routed.decide()] == [["contouring"], ["contouring", "a"]]


def test_a_webhook_waits_for_the_fields_that_a_file_has(archive, routed):
    hook = {"kind": "webhook", "webhook_id": 1, "name": "hook", "fields": ["KVP"]}
    routed.put(RULE | {"destinations": ["hook"]}, destinations=[hook])
    [one] = received(archive, 1, Modality="CT", KVP="120")
    routed.complete(one.SeriesInstanceUID)
    bring_back = aside(archive)
    assert [d.destinations for d in routed.decide()] == [[]]
    bring_back()
    routed.due()
    assert [d.destinations for d in routed.decide()] == [["hook"]]
    assert routed.deliveries()[0].payload == {"KVP": ["120"]}


def test_after_the_limit_a_file_that_is_away_counts_as_unreadable(archive, routed):
    damaged = RULE | {"name": "damaged", "when": UNREADABLE}
    routed.put(RULE | {"when": KVP}, damaged)
    objects = [received(archive, 1, KVP="120")[0] for _ in range(2)]
    for one in objects:
        routed.complete(one.SeriesInstanceUID)
    aside(archive)
    routed.decide()
    routed.execute("UPDATE routing_decisions SET decided_at = now() - interval '8 days'")
    archive.delete(objects[1].StudyInstanceUID)
    routed.due()
    found = routed.decide()
    assert [(d.applied, d.undecided) for d in found] == [
        (["damaged"], ["ct"]),
        ([], ["ct", "damaged"]),
    ]
    assert routed.sample("postponed") == 0


def test_a_batch_goes_on_past_a_file_that_is_away(archive, routed):
    routed.put(RULE | {"when": KVP})
    objects = [received(archive, 1, KVP="120")[0] for _ in range(3)]
    for one in objects:
        routed.complete(one.SeriesInstanceUID)
    routed.decide()
    bring_back = aside(archive, but=files(archive)[1:])
    number = begin_batch(routed)
    found = [d for d in routed.decide() if d.batch_id == number]
    assert sorted(d.applied for d in found) == [[], ["ct"], ["ct"]]
    assert batch_of(routed, number).state == "complete"
    bring_back()
    routed.due()
    assert [d.applied for d in routed.decide()] == [["ct"]] * 6


def test_a_storage_that_hangs_is_left_alone_for_a_while(archive, routed, monkeypatch):
    monkeypatch.setattr(routing_headers, "SLOW_SECONDS", 0)
    routed.put(RULE | {"when": KVP})
    objects = [received(archive, 1, KVP="120")[0] for _ in range(5)]
    bring_back = aside(archive)
    for one in objects:
        routed.complete(one.SeriesInstanceUID)
    assert [d.undecided for d in routed.decide()] == [["ct"]] * 5
    assert len(routed.values.asked) == 2
    bring_back()
    routed.due()
    assert [d.undecided for d in routed.decide()] == [["ct"]] * 5
    assert len(routed.values.asked) == 2
    another = Routed(routed.database, archive.root)
    routed.due()
    assert [d.applied for d in another.decide()] == [["ct"]] * 5


def test_rules_of_a_later_release_hold_everything_up_until_they_can_be_read(archive, routed):
    routed.put(RULE)
    [one] = received(archive, 1)
    routed.decide()
    routed.store({"rules": [RULE | {"colour": "red"}]})
    sequence = routed.complete(one.SeriesInstanceUID)
    for _ in range(2):
        with pytest.raises(RulesUnreadable, match="cannot read version 2"):
            routed.decide()
    assert "version 2" in routed.service.trouble
    assert routed.sample("blocked") == 1
    assert routed.position() < sequence
    routed.put(RULE)
    [decision] = routed.decide()
    assert (decision.sequence, decision.routing_version) == (sequence, 3)
    assert (routed.service.trouble, routed.sample("blocked")) == ("", 0)


def test_rules_that_cannot_be_read_hold_up_also_an_indexer_that_begins(archive, database):
    routed = Routed(database, archive.root)
    routed.store({"rules": [RULE | {"colour": "red"}]})
    with pytest.raises(RulesUnreadable):
        routed.decide()
    sequence = routed.complete(received(archive, 1)[0].SeriesInstanceUID)
    routed.put(RULE)
    assert [decision.sequence for decision in routed.decide()] == [sequence]


def test_files_are_read_by_the_confined_process(archive, database):
    reader = ConfinedHeaderReader(
        archive.root, seconds=20, cpu_seconds=5, memory_mb=768, ahead=False
    )
    reader.start()
    routed = Routed(database, archive.root, reader)
    routed.decide()
    conditions = [
        {"subject": "KVP", "operator": "equals", "value": 120},
        {"subject": "called_ae", "operator": "is_empty", "value": False},
    ]
    routed.put(RULE | {"when": {"all": conditions}})
    [good] = received(archive, 1, KVP="120")
    routed.complete(good.SeriesInstanceUID)
    before = set(archive.files())
    [damaged] = received(archive, 1, KVP="120")
    for path in set(archive.files()) - before:
        (archive.root / path).write_bytes(b"nothing")
    routed.complete(damaged.SeriesInstanceUID)
    try:
        found = routed.decide()
    finally:
        reader.stop()
    assert [(one.applied, one.undecided) for one in found] == [(["ct"], []), ([], ["ct"])]


# --- once, whatever happens ------------------------------------------------------------


def expected_once(routed, sequences):
    assert [one.sequence for one in routed.decisions()] == sorted(sequences)
    assert len(routed.deliveries()) == 2 * len(sequences)


def many(archive, routed, number):
    [one] = received(archive, 1)
    return [routed.complete(one.SeriesInstanceUID) for _ in range(number)]


def test_nothing_is_missed_or_doubled_if_the_process_is_killed(archive, routed, database_url):
    routed.put(RULE | {"destinations": ["a", "b"]})
    sequences = many(archive, routed, 350)
    with children("support.routing_child", database_url, archive.root) as processes:
        for commit in (1, 2, 3, 1):
            processes.start(commit)
            assert processes.end() == -9
        processes.start(0)
        assert processes.end() == 0
    expected_once(routed, sequences)


def test_several_indexers_decide_once(archive, routed, database_url):
    routed.put(RULE | {"destinations": ["a", "b"]})
    others = [Routed(Database(database_url), archive.root) for _ in range(4)]
    sequences, done = [], threading.Event()

    def run(one):
        while not done.is_set():
            one.decide()

    threads = [threading.Thread(target=run, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    try:
        sequences = many(archive, routed, 300)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        for one in others:
            one.database.dispose()
    routed.decide()
    expected_once(routed, sequences)


# --- batches ---------------------------------------------------------------------------


def begin_batch(routed, *, version=1, rules=(), **criteria):
    return routed.execute(
        "INSERT INTO routing_batches (id, routing_version, rules, criteria, state, until)"
        " SELECT gen_random_uuid(), :version, CAST(:rules AS text[]), CAST(:criteria AS jsonb),"
        " 'running', (SELECT max(id) FROM series) RETURNING id",
        version=version,
        rules=list(rules),
        criteria=json.dumps(criteria),
    )


def batch_of(routed, number):
    [row] = routed.rows("SELECT * FROM routing_batches WHERE id = :id", id=number)
    return row


def test_a_batch_applies_rules_to_complete_series_of_the_archive_and_ends(archive, routed):
    routed.put(RULE, RULE | {"name": "all", "when": None, "destinations": ["archive"]})
    complete = [received(archive, 1, Modality=m)[0] for m in ("CT", "MR", "CT")]
    for one in complete:
        routed.complete(one.SeriesInstanceUID)
    routed.decide()
    received(archive, 1)
    routed.put(RULE | {"name": "later"})
    known = len(routed.decisions())
    number = begin_batch(routed, rules=["ct"])
    found = routed.decide()[known:]
    assert {one.series_instance_uid for one in found} == {
        one.SeriesInstanceUID for one in (complete[0], complete[2])
    }
    for one in found:
        assert (one.sequence, one.batch_id, one.routing_version) == (None, number, 1)
        assert (one.applied, one.destinations) == (["ct"], ["contouring"])
    batch = batch_of(routed, number)
    assert (batch.state, batch.series_count, batch.delivery_count) == ("complete", 3, 2)
    assert batch.finished_at is not None
    assert len(routed.decide()) == known + 2
    assert len(routed.wakes) == 2


def test_the_criteria_of_a_batch_choose_series(archive, routed):
    routed.put(RULE | {"when": None})
    ct, mr, old = (received(archive, 1, Modality=m)[0] for m in ("CT", "MR", "CT"))
    archive.age(old.StudyInstanceUID, 3)
    for one in (ct, mr, old):
        routed.complete(one.SeriesInstanceUID)
    routed.decide()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for criteria, expected in (
        ({}, [ct, mr, old]),
        ({"modality": "CT"}, [ct, old]),
        ({"received_from": yesterday}, [ct, mr]),
        ({"received_to": yesterday, "modality": "CT"}, [old]),
        ({"study_instance_uids": [mr.StudyInstanceUID]}, [mr]),
        ({"study_instance_uids": ["1.2.3"]}, []),
    ):
        number = begin_batch(routed, **criteria)
        found = [d.series_instance_uid for d in routed.decide() if d.batch_id == number]
        assert sorted(found) == sorted(one.SeriesInstanceUID for one in expected), criteria
        assert batch_of(routed, number).series_count == len(expected)


def test_a_batch_whose_rules_or_criteria_cannot_be_read_fails_in_words(archive, routed):
    received(archive, 1)
    routed.store({"rules": [RULE | {"colour": "red"}]})
    routed.put(RULE)
    first, second = begin_batch(routed), begin_batch(routed, version=2, colour="red")
    routed.decide()
    found = [batch_of(routed, number) for number in (first, second)]
    assert [one.state for one in found] == ["failed", "failed"]
    assert "version 1" in found[0].error
    assert "criteria" in found[1].error


def test_a_batch_of_rules_that_the_database_lost_fails_and_the_feed_goes_on(archive, routed):
    routed.put(RULE)
    [one] = received(archive, 1, Modality="CT")
    lost = begin_batch(routed, version=9)
    routed.complete(one.SeriesInstanceUID)
    assert [d.series_instance_uid for d in routed.decide()] == [one.SeriesInstanceUID]
    batch = batch_of(routed, lost)
    assert batch.state == "failed"
    assert "no version 9" in batch.error


def test_a_batch_that_is_cancelled_stops_and_the_feed_goes_before_a_batch(
    archive, routed, monkeypatch
):
    monkeypatch.setattr(routing_batches, "AT_ONCE", 1)
    routed.put(RULE | {"when": {"subject": "KVP", "operator": "equals", "value": 120}})
    objects = [received(archive, 1, KVP="120")[0] for _ in range(4)]
    for one in objects:
        routed.complete(one.SeriesInstanceUID)
    routed.decide()
    number = begin_batch(routed)
    sequences = []

    def meanwhile():
        if len(sequences) == 3:
            routed.execute(
                "UPDATE routing_batches SET state = 'cancelled', finished_at = now()"
                " WHERE id = :id",
                id=number,
            )
        sequences.append(routed.complete(objects[0].SeriesInstanceUID))

    routed.values.then = meanwhile
    found = routed.decide()[len(objects) :]
    # A completion while a batch has a file read is decided before the next series of the batch.
    of_batch = [one.batch_id is not None for one in found]
    assert not any(a and b for a, b in itertools.pairwise(of_batch))
    assert batch_of(routed, number).state == "cancelled"
    assert 0 < sum(of_batch) < len(objects)


def test_a_batch_decides_once_however_often_the_process_is_killed(archive, routed, database_url):
    routed.put(RULE)
    for _ in range(3):
        routed.complete(received(archive, 1)[0].SeriesInstanceUID)
    routed.decide()
    series = routed.execute("SELECT max(id) FROM series")
    routed.execute(
        "INSERT INTO series (study_pk, series_instance_uid, modality, stable_at)"
        " SELECT study_pk, series_instance_uid || '.' || n, 'CT', now()"
        " FROM series CROSS JOIN generate_series(1, 240) n WHERE id = :id",
        id=series,
    )
    number = begin_batch(routed)
    with children("support.routing_child", database_url, archive.root) as processes:
        for commit in (1, 2, 1):
            processes.start(commit)
            assert processes.end() == -9
        processes.start(0)
        assert processes.end() == 0
    found = [one.series_instance_uid for one in routed.decisions() if one.batch_id == number]
    assert len(found) == len(set(found)) == 243
    batch = batch_of(routed, number)
    assert (batch.state, batch.series_count, batch.delivery_count) == ("complete", 243, 243)


# --- forgetting ------------------------------------------------------------------------


def test_old_decisions_go_with_their_deliveries_once_all_of_these_are_over(archive, routed):
    routed.put(RULE | {"destinations": ["a", "b"]})
    for _ in range(3):
        routed.complete(received(archive, 1)[0].SeriesInstanceUID)
    number = begin_batch(routed, modality="MR")
    old, unfinished, young = (one.id for one in routed.decide())
    routed.execute(
        "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE destination = 'a'"
        " OR decision_id IN (:old, :young)",
        old=old,
        young=young,
    )
    for table in ("routing_decisions SET decided_at", "routing_batches SET finished_at"):
        routed.execute(f"UPDATE {table} = now() - interval '91 days'")
    routed.execute("UPDATE routing_decisions SET decided_at = now() WHERE id = :id", id=young)
    routed.rows_of_feed.forget_old(90)
    assert [one.id for one in routed.decisions()] == [unfinished, young]
    assert len(routed.deliveries()) == 4
    assert routed.rows("SELECT FROM routing_batches WHERE id = :id", id=number) == []
