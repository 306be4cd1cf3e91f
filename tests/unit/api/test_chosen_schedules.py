"""The schedule in a form becomes a line of cron, and comes back from it."""

import pytest

from draw_api.handlers.web.schedules import DAYS, HOURS, ChosenSchedule, chosen_of, spoken


@pytest.mark.parametrize(
    ("chosen", "line", "words"),
    [
        (ChosenSchedule("day", "2:05"), "5 2 * * *", "every day at 02:05"),
        (ChosenSchedule("weekdays", "23:00"), "0 23 * * 1-5", "Monday to Friday at 23:00"),
        (ChosenSchedule("week", "00:30", weekday="0"), "30 0 * * 0", "Sunday at 00:30"),
        (ChosenSchedule("hours", hours="8"), "0 */8 * * *", "every 8 hours"),
        (ChosenSchedule("hours", hours="1"), "0 */1 * * *", "every hour"),
        (ChosenSchedule("cron", cron="0 2 1 * *"), "0 2 1 * *", "0 2 1 * *"),
    ],
)
def test_choices_are_lines_of_cron(chosen, line, words):
    assert chosen.problems() == []
    assert chosen.line() == line
    assert chosen_of(line).line() == line
    assert chosen_of(line).every == chosen.every
    assert spoken(line) == words


@pytest.mark.parametrize("at", ["", "24:00", "2", "25:61", "noon"])
def test_a_time_that_is_none_is_said_beside_it(at):
    [problem] = ChosenSchedule("day", at).problems()
    assert problem.field == "at"
    assert ChosenSchedule("hours", at).problems() == []


@pytest.mark.parametrize("line", ["0 */5 * * *", "0 2 * * 7", "0,30 2 * * *", "0 2 * * MON"])
def test_what_the_choices_cannot_say_stays_a_line(line):
    assert chosen_of(line) == ChosenSchedule("cron", cron=line)


def test_every_day_and_number_of_hours_has_a_choice():
    for day in DAYS:
        assert chosen_of(f"0 2 * * {day}").weekday == day
    for hours in HOURS:
        assert chosen_of(f"0 */{hours} * * *").hours == hours
