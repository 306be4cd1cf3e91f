"""Schedules as people choose them: every day, on weekdays, weekly, every few hours, or as cron."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from draw_api.handlers.web.languages import N_, _
from draw_api.handlers.web.visitor import CheckedForm
from draw_shared.contracts.failures import FieldProblem
from draw_shared.wording import message

EVERY: Final[Mapping[str, str]] = {
    "day": N_("Every day"),
    "weekdays": N_("Monday to Friday"),
    "week": N_("Once a week"),
    "hours": N_("Every few hours"),
    "cron": N_("As a line of cron"),
}
DAYS: Final[Mapping[str, str]] = {
    "1": N_("Monday"),
    "2": N_("Tuesday"),
    "3": N_("Wednesday"),
    "4": N_("Thursday"),
    "5": N_("Friday"),
    "6": N_("Saturday"),
    "0": N_("Sunday"),
}
HOURS: Final = ("1", "2", "3", "4", "6", "8", "12")
"""Those into which a day divides."""
TIME: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
AT_A_TIME: Final = re.compile(r"([0-5]?[0-9]) ([01]?[0-9]|2[0-3]) \* \* (\*|1-5|[0-6])", re.ASCII)
EVERY_HOURS: Final = re.compile(r"0 (?:\*/([0-9]+)|\*) \* \* \*", re.ASCII)
NO_TIME: Final = message("must be a time of day such as 22:00")


@dataclass(frozen=True, slots=True)
class ChosenSchedule:
    """A schedule in the fields of a form."""

    every: str = "day"
    at: str = "02:00"
    weekday: str = "1"
    hours: str = "6"
    cron: str = ""

    def problems(self) -> list[FieldProblem]:
        """Return what is wrong with the time of day."""
        timed = self.every in {"day", "weekdays", "week"}
        return [FieldProblem("at", NO_TIME)] if timed and not TIME.fullmatch(self.at) else []

    def line(self) -> str:
        """Return the schedule as a line of cron."""
        if self.every == "hours":
            return f"0 */{self.hours} * * *"
        found = TIME.fullmatch(self.at)
        if self.every not in {"day", "weekdays", "week"} or found is None:
            return self.cron
        day = {"weekdays": "1-5", "week": self.weekday}.get(self.every, "*")
        return f"{int(found[2])} {int(found[1])} * * {day}"


def chosen_in(form: CheckedForm) -> ChosenSchedule:
    """Return the schedule that a form contains."""
    weekday, hours = form.text("weekday"), form.text("hours")
    return ChosenSchedule(
        every=form.text("every"),
        at=form.text("at"),
        weekday=weekday if weekday in DAYS else "1",
        hours=hours if hours in HOURS else "6",
        cron=form.text("cron"),
    )


def chosen_of(schedule: str) -> ChosenSchedule:
    """Return a schedule as the form shows it."""
    timed = AT_A_TIME.fullmatch(schedule)
    if timed:
        at = f"{int(timed[2]):02}:{int(timed[1]):02}"
        if timed[3] == "*":
            return ChosenSchedule("day", at, cron=schedule)
        if timed[3] == "1-5":
            return ChosenSchedule("weekdays", at, cron=schedule)
        return ChosenSchedule("week", at, weekday=timed[3], cron=schedule)
    hourly = EVERY_HOURS.fullmatch(schedule)
    if hourly and (hourly[1] or "1") in HOURS:
        return ChosenSchedule("hours", hours=hourly[1] or "1", cron=schedule)
    return ChosenSchedule("cron", cron=schedule)


def spoken(schedule: str) -> str:
    """Return a schedule in words."""
    chosen = chosen_of(schedule)
    if chosen.every == "day":
        return _("every day at %(time)s", time=chosen.at)
    if chosen.every == "weekdays":
        return _("Monday to Friday at %(time)s", time=chosen.at)
    if chosen.every == "week":
        return _("%(day)s at %(time)s", day=_(DAYS[chosen.weekday]), time=chosen.at)
    if chosen.every == "hours":
        if chosen.hours == "1":
            return _("every hour")
        return _("every %(number)s hours", number=chosen.hours)
    return schedule
