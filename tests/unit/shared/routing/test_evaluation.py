"""Each operator, several values, unreadable headers, the order of rules, and what is explained.

Generated documents are in tests/property/test_routing.py.
"""

from datetime import UTC, datetime

import pytest

from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator, RuleOutcome
from draw_shared.routing.facts import ArrivalFacts, RoutingFacts
from draw_shared.routing.presets import PRESETS
from draw_shared.routing.subjects import split_values, subject_of
from support.routing_documents import with_destinations

NOW = datetime(2026, 11, 30, 22, 30, tzinfo=UTC)  # a Monday, in Vienna half an hour before midnight


def facts(unreadable=False, at=NOW, arrival=None, **elements):
    values = {
        keyword: split_values(text, subject_of(keyword).vr) for keyword, text in elements.items()
    }
    return RoutingFacts(
        Trigger.SERIES_COMPLETE,
        values | (arrival or ArrivalFacts()).values(),
        at,
        unreadable=unreadable,
    )


def rule(when, name="a", **fields):
    return {"name": name, "when": when, "destinations": ["x"], **fields}


def held(when, known):
    evaluator = Evaluator(RoutingDocument.read(with_destinations({"rules": [rule(when)]})))
    (outcome,) = evaluator.evaluate(known).outcomes
    seen = evaluator.explain(known).rules[0].condition
    answer = {RuleOutcome.APPLIES: True, RuleOutcome.DOES_NOT_APPLY: False}.get(outcome)
    assert seen.held is answer
    return answer


@pytest.mark.parametrize(
    ("subject", "text", "operator", "value", "expected"),
    [
        ("Modality", "CT", "equals", "ct", True),
        ("Modality", "CT ", "equals", "CT", True),
        ("Modality", "MR", "equals", "CT", False),
        ("Modality", "", "equals", "CT", False),
        ("Modality", "MR", "not_equals", "CT", True),
        ("Modality", "", "not_equals", "CT", True),
        ("ImageType", "ORIGINAL\\PRIMARY\\LOCALIZER", "not_equals", "localizer", False),
        ("ImageType", "ORIGINAL\\PRIMARY\\AXIAL", "not_equals", "localizer", True),
        ("ImageType", "ORIGINAL\\PRIMARY\\LOCALIZER", "does_not_contain", "local", False),
        ("SeriesDescription", "Thorax nativ", "contains", "NATIV", True),
        ("SeriesDescription", "Thorax nativ", "starts_with", "nativ", False),
        ("SeriesDescription", "Schädel STRASSE", "contains", "straße", True),
        ("SeriesDescription", "Topogram 0.6", "matches", "topogram|scout", True),
        ("SeriesDescription", "Kopf", "matches", "^k.pf$", True),
        ("SeriesDescription", "\ud800", "matches", "x", False),
        ("SeriesDescription", "", "is_empty", True, True),
        ("SeriesDescription", " \\ ", "is_empty", True, True),
        ("SeriesDescription", "x", "is_empty", False, True),
        ("StudyComments", "a\\b", "equals", "a\\b", True),
        ("Modality", "CT", "is_one_of", ["MR", "ct"], True),
        ("SeriesNumber", "+3 ", "equals", 3, True),
        ("SliceThickness", "2.50", "equals", 2.5, True),
        ("SliceThickness", "2,5", "not_equals", 2.5, True),
        ("SliceThickness", "2,5", "<", 3, False),
        ("SliceThickness", "1e999", ">", 3, False),
        ("SliceThickness", ".5", "<=", 0.5, True),
        ("InstanceNumber", "9" * 5000, ">", 3, False),
        ("InstanceNumber", "1_0", "equals", 10, False),
        ("InstanceNumber", "\u0663", "equals", 3, False),
        ("Rows", "512", "is_one_of", [256, 512], True),
        ("Rows", "many", "is_one_of", [256, 512], False),
        ("StudyDate", "20261130", ">=", "2026.11.30", True),
        ("StudyDate", "20260231", ">=", "19000101", False),
        ("StudyTime", "1830", "<", "183000.000001", True),
        ("AcquisitionDateTime", "20261130183000.5+0100", ">", "20261130183000", True),
        ("AcquisitionDateTime", "202613", ">", "2025", False),
        ("PatientAge", "017Y", "<", "018Y", True),
        ("PatientAge", "030M", ">", "002Y", True),
        ("PatientAge", "old", "<", "018Y", False),
    ],
)
def test_operators(subject, text, operator, value, expected):
    condition = {"subject": subject, "operator": operator, "value": value}
    assert held(condition, facts(**{subject: text})) is expected
    assert held({"not": condition}, facts(**{subject: text})) is not expected


def test_capital_letters_count_when_wanted():
    condition = {"subject": "Modality", "value": "ct", "case_sensitive": True}
    for operator in ("equals", "contains", "starts_with", "matches"):
        assert held(condition | {"operator": operator}, facts(Modality="CT")) is False
        assert held(condition | {"operator": operator}, facts(Modality="ct")) is True


def test_of_several_values_one_or_all_must_fulfil_it():
    condition = {"subject": "ImageType", "operator": "equals", "value": "PRIMARY"}
    assert held(condition, facts(ImageType="ORIGINAL\\PRIMARY")) is True
    assert held(condition | {"of": "all"}, facts(ImageType="ORIGINAL\\PRIMARY")) is False
    assert held(condition | {"of": "all"}, facts(ImageType="PRIMARY\\PRIMARY")) is True
    assert held(condition | {"of": "all"}, facts()) is False
    differs = condition | {"operator": "not_equals", "of": "any"}
    assert held(differs, facts(ImageType="ORIGINAL\\PRIMARY")) is True


def test_what_came_beside_the_data_set():
    arrival = ArrivalFacts(
        calling_ae=("CT1", "CT2"), address=("192.0.2.7",), reason="proved", instances=3
    )
    known = facts(arrival=arrival)
    assert held({"subject": "calling_ae", "operator": "equals", "value": "CT2"}, known)
    assert held({"subject": "address", "operator": "starts_with", "value": "192.0.2."}, known)
    assert held({"subject": "reason", "operator": "equals", "value": "proved"}, known)
    assert held({"subject": "instances", "operator": ">=", "value": 3}, known)
    assert held({"subject": "move_originator", "operator": "is_empty"}, known)
    assert held({"subject": "unreadable", "operator": "equals", "value": False}, known)


@pytest.mark.parametrize(
    ("begin", "end", "days", "expected"),
    [
        ("23:00", "23:31", [], True),
        ("23:00", "23:30", [], False),
        ("22:00", "06:00", ["monday"], True),
        ("22:00", "06:00", ["tuesday"], False),
        ("06:00", "22:00", [], False),
    ],
)
def test_a_window_of_the_day(begin, end, days, expected):
    window = {"from": begin, "to": end, "zone": "Europe/Vienna", "days": days}
    assert held({"time_of_day": window}, facts()) is expected


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins():
    window = {"from": "22:00", "to": "06:00", "zone": "UTC", "days": ["sunday"]}
    assert held({"time_of_day": window}, facts(at=datetime(2026, 11, 30, 5, tzinfo=UTC))) is True
    assert held({"time_of_day": window}, facts(at=datetime(2026, 11, 30, 7, tzinfo=UTC))) is False


def test_a_header_that_cannot_be_read_leaves_conditions_undecided():
    is_ct = {"subject": "Modality", "operator": "equals", "value": "CT"}
    no_scout = {"subject": "SeriesDescription", "operator": "does_not_contain", "value": "scout"}
    damaged = facts(unreadable=True, Modality="CT")
    assert held(is_ct, damaged) is True
    assert held(is_ct | {"of": "all"}, damaged) is None
    assert held(no_scout, damaged) is None
    assert held({"not": no_scout}, damaged) is None
    assert held({"all": [is_ct, no_scout]}, damaged) is None
    assert held({"any": [is_ct, no_scout]}, damaged) is True
    assert held({"all": [{"not": is_ct}, no_scout]}, damaged) is False
    assert held({"subject": "Modality", "operator": "is_empty"}, damaged) is False
    assert held({"subject": "StudyID", "operator": "is_empty"}, damaged) is None
    assert held({"subject": "unreadable", "operator": "equals", "value": True}, damaged) is True
    assert held({"subject": "calling_ae", "operator": "is_empty"}, damaged) is True
    called = {"subject": "called_ae", "operator": "not_equals", "value": "DRAW_SCP"}
    assert held(called, damaged) is None


def test_rules_are_looked_at_in_order_until_one_stops():
    is_ct = {"subject": "Modality", "operator": "equals", "value": "CT"}
    document = RoutingDocument.model_validate(
        {
            "rules": [
                rule(is_ct, "off", active=False),
                rule(is_ct, "study", trigger="study_complete"),
                rule({"not": is_ct}, "not ct", stop=True),
                rule(is_ct, "ct", destinations=["b", "a"]),
                rule(None, "all", destinations=["a", "c"], stop=True),
                rule(None, "late", destinations=["d"]),
            ]
        }
    )
    explained = Evaluator(document).explain(facts(Modality="CT"))
    assert explained.decision.destinations == ("b", "a", "c")
    assert [(seen.rule.name, seen.outcome) for seen in explained.rules] == [
        ("off", RuleOutcome.INACTIVE),
        ("study", RuleOutcome.OTHER_TRIGGER),
        ("not ct", RuleOutcome.DOES_NOT_APPLY),
        ("ct", RuleOutcome.APPLIES),
        ("all", RuleOutcome.APPLIES),
        ("late", RuleOutcome.NOT_REACHED),
    ]


def test_an_explanation_has_the_values_that_conditions_saw():
    when = {
        "all": [
            {"subject": "Modality", "operator": "equals", "value": "CT"},
            {"not": {"subject": "ImageType", "operator": "contains", "value": "LOCALIZER"}},
        ]
    }
    known = facts(Modality="CT", ImageType="ORIGINAL\\LOCALIZER")
    seen = (
        Evaluator(RoutingDocument.read(with_destinations({"rules": [rule(when)]})))
        .explain(known)
        .rules[0]
    )
    modality, negated = seen.condition.within
    assert (modality.seen, modality.held) == (("CT",), True)
    assert (negated.within[0].seen, negated.within[0].held) == (("ORIGINAL", "LOCALIZER"), True)
    assert (negated.held, seen.condition.held) == (False, False)


@pytest.mark.parametrize(
    ("elements", "calling_ae", "destinations"),
    [
        ({"Modality": "CT", "SeriesDescription": "Thorax"}, "X", ("contouring",)),
        ({"Modality": "CT", "SeriesDescription": "Topogram  0.6"}, "X", ()),
        ({"Modality": "CT", "ImageType": "ORIGINAL\\PRIMARY\\SCOUT"}, "X", ()),
        ({"Modality": "RTSTRUCT"}, "X", ("planning",)),
        ({"Modality": "MR"}, "CT_SCANNER", ("archive",)),
    ],
)
def test_presets(elements, calling_ae, destinations):
    document = RoutingDocument(rules=tuple(preset.rule for preset in PRESETS))
    known = facts(arrival=ArrivalFacts(calling_ae=(calling_ae,)), **elements)
    assert Evaluator(document).evaluate(known).destinations == destinations
