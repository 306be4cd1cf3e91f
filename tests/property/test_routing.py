"""Rules against a plain reference on 5,000 generated pairs of document and header.

Headers have what goes wrong: empty and several values, contents that do not fit the VR, huge texts,
other scripts, half characters. Not covered: regular expressions beyond those that Python's `re`
reads alike, and elements that only a file has (tests/integration/api/test_routing.py).
"""

import random
from datetime import UTC, datetime, timedelta

import pytest

from draw_shared.routing.document import OPERATORS, Operator, RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.routing.facts import RoutingFacts
from draw_shared.routing.subjects import ValueKind, split_values, subject_of
from support import routing_reference as reference

pytestmark = [pytest.mark.property, pytest.mark.timeout(300)]

PAIRS = 5000
HEADERS_PER_DOCUMENT = 10
WORDS = [
    "CT",
    "ct",
    "MR",
    "Topogram 0.6",
    "SCOUT",
    "Schädel",
    "STRASSE",
    "straße",
    "山田",
    "Ä",
    "İ",
]
EXPRESSIONS = ["^ct$", "topogram|scout", "[0-9]+", "t.*m", "", "(a|b)*c", "sch.del", "x{2,3}"]
NUMBERS = [
    "0",
    "3",
    "+3",
    "-1",
    "2.5",
    "2.50",
    ".5",
    "5.",
    "1e3",
    "1e999",
    "abc",
    "2,5",
    "1_0",
    "٣",
]
NUMBERS += ["9" * 60, "9" * 5000, "--1", "e5", "nan", "inf", "0x10", "3 3"]
DATES = ["20261130", "2026.11.30", "2026-11-30", "20260231", "2026", "20261130x", "00000000"]
TIMES = ["18", "1830", "183000", "183000.5", "18:30:00", "18:30", "2500", "183060", "18300", "x"]
MOMENTS = ["2026", "202611", "20261130183000", "20261130183000.5+0100", "202613", "2026113018300"]
MOMENTS += ["20261130183000.", "20261130-0500", "x"]
AGES = ["018Y", "030M", "002W", "5D", "18", "Y", "0180Y", "018y"]
SAMPLES = {
    ValueKind.TEXT: WORDS,
    ValueKind.NUMBER: NUMBERS,
    ValueKind.DATE: DATES,
    ValueKind.TIME: TIMES,
    ValueKind.MOMENT: MOMENTS,
    ValueKind.AGE: AGES,
    ValueKind.PRESENCE: ["2 items"],
}
BESIDE = ("calling_ae", "called_ae", "address", "reason", "instances", "size_bytes", "unreadable")


def wanted(pick, kind, operator, subject):
    if operator is Operator.IS_EMPTY:
        return pick.choice([None, True, False])
    if kind is ValueKind.FLAG:
        return pick.choice([True, False])
    if operator is Operator.IS_ONE_OF:
        return [wanted(pick, kind, Operator.EQUALS, subject) for _ in range(pick.randint(1, 3))]
    if operator is Operator.MATCHES:
        return pick.choice([e for e in EXPRESSIONS if e])
    if subject == "reason" and operator in (Operator.EQUALS, Operator.NOT_EQUALS):
        return pick.choice(["quiet", "proved"])
    return pick.choice(
        {
            ValueKind.TEXT: WORDS,
            ValueKind.NUMBER: [0, 3, 2.5, -1, 1000, 10**59],
            ValueKind.DATE: ["20261130", "2026-11-30", "19000101"],
            ValueKind.TIME: ["18", "1830", "183000.5"],
            ValueKind.MOMENT: ["2026", "20261130183000", "20261130183000.5+0100"],
            ValueKind.AGE: ["018Y", "030M", "5D"],
        }[kind]
    )


def comparison(pick):
    subject = pick.choice([*reference.ELEMENTS, *BESIDE])
    kind = subject_of(subject).kind
    operator = pick.choice(sorted(OPERATORS[kind]))
    made = {"subject": subject, "operator": str(operator)}
    value = wanted(pick, kind, operator, subject)
    if value is not None:
        made["value"] = value
    if pick.random() < 0.3:
        made["of"] = pick.choice(["any", "all", None])
    if pick.random() < 0.3:
        made["case_sensitive"] = pick.choice([True, False])
    return made


def window(pick):
    begin, end = pick.sample(["00:00", "06:00", "12:30", "18:00", "23:59"], 2)
    zone = pick.choice(["UTC", "Europe/Vienna", "America/St_Johns"])
    made = {"from": begin, "to": end, "zone": zone}
    if pick.random() < 0.5:
        made["days"] = pick.sample(reference.DAYS, pick.randint(0, 3))
    return {"time_of_day": made}


def condition(pick, depth=1):
    roll = pick.random()
    if depth == 5 or roll < 0.5:
        return comparison(pick)
    if roll < 0.55:
        return window(pick)
    if roll < 0.7:
        return {"not": condition(pick, depth + 1)}
    word = pick.choice(["all", "any"])
    return {word: [condition(pick, depth + 1) for _ in range(pick.randint(1, 4))]}


def rules(pick):
    made = []
    for number in range(pick.randint(1, 6)):
        one = {"name": f"rule {number}", "stop": pick.random() < 0.2}
        one["destinations"] = [f"to {n}" for n in pick.sample(range(5), pick.randint(1, 2))]
        if pick.random() < 0.95:
            one["when"] = condition(pick)
        if pick.random() < 0.1:
            one["active"] = False
        if pick.random() < 0.2:
            one["trigger"] = pick.choice(list(map(str, Trigger)))
        made.append(one)
    return {"rules": made}


def content(pick, kind):
    odd = ["", " ", "\\", "\0", "\ud800", "x" * 20_000, "\\".join(["CT"] * 300), "\u202e", "%"]
    values = [
        pick.choice(odd) if pick.random() < 0.1 else pick.choice(SAMPLES[kind])
        for _ in range(pick.choice([1, 1, 1, 2, 3]))
    ]
    return "\\".join(values) + pick.choice(["", "", " ", "\0"])


def header(pick):
    return {
        keyword: content(pick, subject_of(keyword).kind)
        for keyword in reference.ELEMENTS
        if pick.random() < 0.8
    }


def beside(pick):
    return {
        "calling_ae": pick.sample(["CT", "MR", "PACS"], pick.randint(0, 2)),
        "called_ae": pick.choice([[], ["DRAW_SCP"]]),
        "address": pick.choice([[], ["192.0.2.7"]]),
        "reason": pick.choice([[], ["quiet"], ["proved"]]),
        "instances": [str(pick.choice([0, 3, 1000]))],
        "size_bytes": ["3"],
    }


def test_rules_agree_with_the_reference():
    pick = random.Random(20261130)
    seen = set()
    for _ in range(PAIRS // HEADERS_PER_DOCUMENT):
        given = rules(pick)
        evaluator = Evaluator(RoutingDocument.read(given))
        for _ in range(HEADERS_PER_DOCUMENT):
            known, other = header(pick), beside(pick)
            at = datetime(2026, 3, 27, tzinfo=UTC) + timedelta(minutes=pick.randint(0, 9000))
            trigger, unreadable = pick.choice(list(Trigger)[:1] * 5 + list(Trigger)), False
            unreadable = pick.random() < 0.15
            values = {k: split_values(text, subject_of(k).vr) for k, text in known.items()}
            facts = RoutingFacts(trigger, values | other, at, unreadable=unreadable)
            explained = evaluator.explain(facts)
            expected = reference.decide(given, known, other, at, trigger, unreadable)
            decision = explained.decision
            assert (decision.destinations, decision.outcomes) == expected, (given, known, other)
            for rule, raw in zip(explained.rules, given["rules"], strict=True):
                if rule.condition is not None:
                    found = reference.holds(raw["when"], known, other, at, unreadable)
                    assert rule.condition.held is found, (raw, known, other)
            seen.update(decision.outcomes)
    assert len(seen) == 6
