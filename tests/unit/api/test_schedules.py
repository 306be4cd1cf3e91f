"""When standing queries run: days on which clocks change, missed runs, what is no schedule."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from draw_api.models.schedules import (
    ScheduleUnusable,
    checked_schedule,
    latest_run,
    next_run,
    runs_after,
)

NIGHTLY = "30 2 * * *"
BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Asia/Kolkata", "UTC")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of_days(schedule, zone, since, until):
    """Return the runs of these days, in UTC, without year and seconds."""
    found = []
    for moment in runs_after(schedule, zone, at(since)):
        if moment >= at(until):
            return found
        found.append(f"{moment:%d %H:%M}")
    return found


def test_a_nightly_run_keeps_its_hour_over_both_changes_of_the_clocks():
    # On 29 March 02:00 becomes 03:00; on 25 October 03:00 becomes 02:00.
    spring = of_days("0 4 * * *", BERLIN, "2026-03-27T12:00", "2026-03-30T12:00")
    assert spring == ["28 03:00", "29 02:00", "30 02:00"]
    autumn = of_days("0 4 * * *", BERLIN, "2026-10-23T12:00", "2026-10-26T12:00")
    assert autumn == ["24 02:00", "25 03:00", "26 03:00"]


def test_an_hour_that_is_skipped_is_run_after_it_and_one_that_comes_twice_once():
    spring = of_days(NIGHTLY, BERLIN, "2026-03-27T12:00", "2026-03-30T12:00")
    assert spring == ["28 01:30", "29 01:00", "30 00:30"]
    autumn = of_days(NIGHTLY, BERLIN, "2026-10-23T12:00", "2026-10-26T12:00")
    assert autumn == ["24 00:30", "25 00:30", "26 01:30"]


def test_every_two_hours_goes_on_while_clocks_change():
    autumn = of_days("0 */2 * * *", BERLIN, "2026-10-24T21:00", "2026-10-25T06:00")
    assert autumn == ["24 22:00", "25 00:00", "25 01:00", "25 03:00", "25 05:00"]


def test_of_missed_runs_the_latest_is_found():
    # Off from Friday evening to Monday noon: three nights were missed.
    assert next_run(NIGHTLY, BERLIN, at("2026-10-23T18:00")) == at("2026-10-24T00:30")
    assert latest_run(NIGHTLY, BERLIN, at("2026-10-26T11:00")) == at("2026-10-26T01:30")


def test_the_latest_run_may_be_this_very_moment():
    moment = at("2026-10-26T01:30")
    assert latest_run(NIGHTLY, BERLIN, moment) == moment
    assert latest_run(NIGHTLY, BERLIN, moment - timedelta(microseconds=1)) < moment
    assert next_run(NIGHTLY, BERLIN, moment) > moment


@pytest.mark.parametrize(
    ("zone", "eve"),
    [
        (BERLIN, "2026-10-24T12:00"),
        (BERLIN, "2026-03-28T12:00"),
        # These change by two hours and by half an hour.
        ("Antarctica/Troll", "2026-10-24T12:00"),
        ("Australia/Lord_Howe", "2026-04-04T03:00"),
    ],
)
@pytest.mark.parametrize("schedule", [NIGHTLY, "45 1 * * *", "15 1-3 * * *", "30 */2 * * *"])
def test_whoever_asks_while_clocks_change_is_told_of_the_same_runs(schedule, zone, eve):
    began = at(eve)
    runs = list(islice(runs_after(schedule, zone, began), 50))
    for minutes in range(60, 30 * 60, 7):
        moment = began + timedelta(minutes=minutes)
        assert next_run(schedule, zone, moment) == next(run for run in runs if run > moment)
        past = [run for run in runs if run <= moment]
        if past:
            assert latest_run(schedule, zone, moment) == past[-1]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("schedule", [NIGHTLY, "0 0 * * *", "15 1,2,3 * * 1-5", "0 */6 * * *"])
def test_both_directions_agree_for_a_year(schedule, zone):
    runs = list(islice(runs_after(schedule, zone, at("2026-01-01T00:00")), 1_500))
    assert len(runs) > 300
    for before, after in pairwise(runs):
        assert after > before
        assert latest_run(schedule, zone, after - timedelta(seconds=1)) == before


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("0 25 * * *", "25 is no hour of a schedule"),
        ("60 2 * * *", "60 is no minute of a schedule"),
        ("0 2 32 * *", "32 is no day of a schedule"),
        ("0 2 * 13 *", "13 is no month of a schedule"),
        ("0 2 * * 8", "8 is no weekday of a schedule"),
        ("0 2 * *", "minute, hour, day, month and weekday"),
        ("0 0 2 * * *", "minute, hour, day, month and weekday"),
        ("@daily", "minute, hour, day, month and weekday"),
        ("0 2 * * ²", "minute, hour, day, month and weekday"),
        ("0 2 */31 2 *", None),
        ("0 0 31 2,4,6 *", "day of a schedule"),
        ("* * * * *", "every 5 minutes at most"),
        ("0,59 0,23 * * *", "every 5 minutes at most"),
    ],
)
def test_what_is_no_schedule_is_said(typed, words):
    if words is None:
        assert checked_schedule(typed) == typed
        return
    with pytest.raises(ValueError, match=words):
        checked_schedule(typed)


def test_schedules_are_kept_in_one_form():
    assert checked_schedule("  0   2 * *  mon-fri ") == "0 2 * * MON-FRI"


def test_a_zone_that_is_gone_is_said():
    with pytest.raises(ScheduleUnusable, match="no time zone Europe/Atlantis"):
        next_run(NIGHTLY, "Europe/Atlantis", at("2026-01-01T00:00"))
