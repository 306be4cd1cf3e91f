"""The verdict of a soak: what has to break it breaks it, and nothing else does."""

import pytest

from bench.soak import verdict
from bench.soak.watch import Performed, Sample

ROWS = {"1": "objects/1", "2": "objects/2"}
FILES = set(ROWS.values())


def test_the_truth_holds_when_all_that_was_acknowledged_is_there_once():
    found = verdict.truth({"1", "2"}, ROWS.keys(), ROWS, FILES, [])
    assert found.holds
    assert "none missing, none twice" in found.words


@pytest.mark.parametrize(
    ("acknowledged", "rows", "files", "wrong", "words"),
    [
        ({"1", "2", "3"}, ROWS, FILES, [], "1 missing"),
        ({"1"}, ROWS, FILES, [], "1 not acknowledged"),
        ({"1", "2"}, ROWS, {"objects/1"}, [], "1 rows without file"),
        ({"1", "2"}, ROWS, FILES | {"objects/3"}, [], "1 files without row"),
        ({"1", "2"}, {"1": "objects/1", "2": "objects/1"}, {"objects/1"}, [], "1 two rows"),
        ({"1", "2"}, ROWS, FILES, ["2"], "1 files with other bytes"),
    ],
)
def test_whatever_is_missing_too_many_or_different_breaks_it(
    acknowledged, rows, files, wrong, words
):
    found = verdict.truth(acknowledged, rows.keys(), rows, files, wrong)
    assert not found.holds
    assert words in found.words


def samples(*megabytes, descriptors=100, threads=20):
    return [
        Sample(number, rss, descriptors, threads)
        for number, rss in enumerate(each for each in megabytes for _ in range(8))
    ]


def test_a_process_that_goes_on_growing_leaks_and_one_that_warms_up_does_not():
    assert all(found.holds for found in verdict.leaks({"scp": samples(100, 300, 310, 312)}))
    assert not all(found.holds for found in verdict.leaks({"scp": samples(100, 200, 300, 400)}))


def test_descriptors_that_stay_open_are_a_leak():
    seen = samples(100, 100, 100) + samples(100, descriptors=400)
    assert not all(found.holds for found in verdict.leaks({"api": seen}))


def test_too_short_a_run_says_nothing_of_leaks():
    (found,) = verdict.leaks({"api": samples(100)})
    assert found.holds
    assert "too short" in found.words


def test_a_statement_that_takes_longer_in_the_second_half_grows():
    half = {1: Performed("SELECT", 100, 1000.0), 2: Performed("UPDATE", 100, 1000.0)}
    end = {1: Performed("SELECT", 200, 11_000.0), 2: Performed("UPDATE", 200, 2100.0)}
    found = verdict.growing(half, end)
    assert not found.holds
    assert "10.0 to 100.0 ms: SELECT" in found.words
    assert "UPDATE" not in found.words


def test_a_failed_answer_and_a_starved_webhook_break_it():
    assert verdict.failed({"C-FIND": 10}, []).holds
    assert not verdict.failed({"C-FIND": 10}, ["C-FIND: Wrong"]).holds
    assert verdict.webhook((100, 90), 0).holds
    assert not verdict.webhook((100, 20), 0).holds
    assert not verdict.webhook((100, 90), 3).holds


def test_growth_is_told_per_million_objects():
    found = verdict.growth({"instances": 0, "jobs": 5}, {"instances": 10**6, "jobs": 5}, 1000)
    assert found == [["instances", "1,000"]]
