"""Rules against a plain reference on 5,000 generated pairs of document and header.

Headers have what goes wrong: empty and several values, contents that do not fit the VR, huge texts,
other scripts, half characters. Not covered: regular expressions beyond those that Python's `re`
reads alike, and elements that only a file has (tests/integration/api/test_routing.py).
"""

import random
from datetime import UTC, datetime, timedelta

import pytest

from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.routing.facts import RoutingFacts
from draw_shared.routing.subjects import split_values, subject_of
from support import routing_reference as reference
from support.routing_documents import with_destinations
from support.routing_generated import SAMPLES, rules

pytestmark = pytest.mark.property

PAIRS = 5000
HEADERS_PER_DOCUMENT = 10


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
        evaluator = Evaluator(RoutingDocument.read(with_destinations(given)))
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
