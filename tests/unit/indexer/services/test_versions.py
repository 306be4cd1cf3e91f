"""Which version of a SOP instance is current.

Not covered here: what becomes of the rows, see the integration tests.
"""

import itertools
from dataclasses import replace

import pytest

from draw_indexer.models import CurrentVersion, Reason
from draw_indexer.services.versions import Versions
from draw_shared.contracts.server_config import DuplicatePolicy
from support.arrivals import arrival

KEEP, REPLACE = DuplicatePolicy.KEEP_EXISTING, DuplicatePolicy.REPLACE


def known_of(one):
    stored = one.stored
    return CurrentVersion(
        stored.sop_instance_uid,
        stored.content_sha256,
        stored.received_at,
        stored.path,
        stored.size_bytes,
        stored.calling_ae,
        stored.series_instance_uid,
        stored.study_instance_uid,
    )


def hashes(conflicts):
    return [conflict.content_sha256 for conflict in conflicts]


def test_the_first_is_current():
    one = arrival()
    verdict = Versions(KEEP).judge(None, [one])
    assert verdict.current is one
    assert verdict.fresh
    assert verdict.displaced is None
    assert verdict.set_aside == []
    assert verdict.describing == [one]


@pytest.mark.parametrize("policy", [KEEP, REPLACE])
def test_the_same_reception_again_changes_nothing(policy):
    one = arrival()
    verdict = Versions(policy).judge(known_of(one), [one, one])
    assert verdict.current is None
    assert not verdict.fresh
    assert verdict.set_aside == []


@pytest.mark.parametrize(("policy", "winner"), [(KEEP, 0), (REPLACE, 1)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_reception_decides_within_a_batch(policy, winner, order):
    versions = arrival(content="a", second=1), arrival(content="b", second=2)
    verdict = Versions(policy).judge(None, [versions[n] for n in order])
    assert verdict.current is versions[winner]
    assert hashes(verdict.set_aside) == [versions[1 - winner].stored.content_sha256]
    assert {id(a) for a in verdict.describing} == {id(a) for a in versions}


@pytest.mark.parametrize(
    ("policy", "reason", "second", "displaces"),
    [
        (KEEP, Reason.KEPT, 5, False),
        (KEEP, Reason.KEPT, -5, True),
        (REPLACE, Reason.REPLACED, 5, True),
        (REPLACE, Reason.REPLACED, -5, False),
    ],
)
def test_another_version_beside_a_known_one(policy, reason, second, displaces):
    known = known_of(arrival(content="a"))
    other = arrival(content="b", second=second)
    verdict = Versions(policy).judge(known, [other])
    assert (verdict.current is other) is displaces
    assert verdict.fresh is displaces
    assert (verdict.displaced is known) is displaces
    aside = known.content_sha256 if displaces else other.stored.content_sha256
    assert hashes(verdict.set_aside) == [aside]
    assert verdict.set_aside[0].reason == reason


@pytest.mark.parametrize(("policy", "second"), [(KEEP, -5), (REPLACE, 5)])
def test_a_reception_that_goes_before_is_taken_over_but_nothing_new(policy, second):
    again = arrival(second=second)
    verdict = Versions(policy).judge(known_of(arrival()), [again])
    assert verdict.current is again
    assert not verdict.fresh
    assert verdict.displaced is None


def test_of_versions_received_at_one_moment_the_hash_decides():
    versions = [arrival(content=content) for content in "abc"]
    for order in itertools.permutations(versions):
        kept = Versions(KEEP).judge(None, order).current
        assert kept is min(versions, key=lambda one: one.stored.content_sha256)


def test_a_set_aside_version_counts_with_the_reception_that_goes_before():
    known = known_of(arrival(content="a", second=1))
    winner = arrival(content="b", second=9)
    earlier = arrival(content="a", second=0)
    verdict = Versions(REPLACE).judge(known, [winner, earlier])
    assert [c.received_at for c in verdict.set_aside] == [known.received_at]
    verdict = Versions(KEEP).judge(
        replace(known, received_at=winner.stored.received_at), [arrival(content="b"), earlier]
    )
    assert len(verdict.set_aside) <= 1


def test_an_object_of_another_study_does_not_describe_the_current_ones():
    known = known_of(arrival(content="a", study="3.1"))
    elsewhere = arrival(content="b", second=5, study="3.9")
    verdict = Versions(KEEP).judge(known, [elsewhere])
    assert verdict.describing == []
    assert verdict.set_aside[0].study_instance_uid == "3.9"
