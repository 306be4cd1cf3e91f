"""Schedules in the form of cron, read in a time zone.

A day on which the clocks change has one run of a schedule that names an hour: a time that is
skipped is run at once after the change, one that comes twice is run the first time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from draw_api.models.queries import is_zone
from draw_shared.contracts.texts import LINE
from draw_shared.errors import Permanent
from draw_shared.wording import message

MIN_INTERVAL: Final = timedelta(minutes=5)
"""A remote node is asked no more often."""
COMPARED: Final = 64
"""Runs in a row between which the shortest interval is looked for."""
PUT_BACK: Final = timedelta(hours=3)
"""No zone puts its clock back by more. In the time that comes twice the simulation takes the second
for the first, so it begins before."""
NEAR: Final = timedelta(days=2)
"""Where the latest run is looked for first."""
FAR: Final = timedelta(days=366 * 8)
"""A schedule that has no run within this time has none in a life; 29 February comes in it."""
FIELDS: Final = (
    message("minute"),
    message("hour"),
    message("day"),
    message("month"),
    message("weekday"),
)
SIMPLE: Final = frozenset("0123456789*/,-ABCDEFGHIJKLMNOPQRSTUVWXYZ# ")
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""From here the interval of a schedule is measured: the answer must not depend on the day."""


class ScheduleUnusable(Permanent):
    """A schedule or its time zone cannot be used; the text says why."""


def runs_after(schedule: str, zone: str, moment: datetime) -> Iterator[datetime]:
    """Yield the moments of a schedule after another moment, in UTC.

    Raises:
        ScheduleUnusable: nothing can be computed from it.
    """
    for found in _simulated(schedule, zone, moment - PUT_BACK):
        if found > moment:
            yield found.astimezone(UTC)


def latest_run(schedule: str, zone: str, moment: datetime) -> datetime | None:
    """Return the last moment of a schedule that is not after another one, in UTC.

    Raises:
        ScheduleUnusable: nothing can be computed from it.
    """
    latest = None
    for found in runs_after(schedule, zone, moment - NEAR):
        if found > moment:
            break
        latest = found
    if latest is not None:
        return latest
    # Backwards, the simulation finds other moments on a day on which the clocks change.
    for found in _simulated(schedule, zone, moment + PUT_BACK, reverse=True):
        if found <= moment:
            return found.astimezone(UTC)
    return None


def next_run(schedule: str, zone: str, moment: datetime) -> datetime | None:
    """Return the first moment of a schedule after another one; None: there is none.

    Raises:
        ScheduleUnusable: nothing can be computed from it.
    """
    return next(runs_after(schedule, zone, moment), None)


def _simulated(
    schedule: str, zone: str, moment: datetime, *, reverse: bool = False
) -> Iterator[datetime]:
    if not zone or not is_zone(zone):
        raise ScheduleUnusable(message("there is no time zone %(zone)s", zone=zone))
    try:
        return CronSim(schedule, moment.astimezone(ZoneInfo(zone)), reverse=reverse)
    except CronSimError as error:
        raise ScheduleUnusable(_words(str(error), schedule)) from error


def _words(found: str, schedule: str) -> str:
    """Return in words why a schedule cannot be read."""
    parts = schedule.split()
    for position, (name, said) in enumerate(
        zip(("minute", "hour", "day-of-month", "month", "day-of-week"), FIELDS, strict=True)
    ):
        if found == f"Bad {name}":
            return message(
                "%(value)s is no %(field)s of a schedule", value=parts[position], field=said
            )
    return message("a schedule is minute, hour, day, month and weekday, such as 0 2 * * *")


def checked_schedule(typed: str) -> str:
    """Return a schedule with single blanks and capitals.

    Raises:
        ValueError: it is none, it never comes, or it comes too often; the text says so.
    """
    schedule = " ".join(typed.upper().split())
    if len(schedule.split()) != len(FIELDS) or not SIMPLE.issuperset(schedule):
        raise ValueError(
            message("a schedule is minute, hour, day, month and weekday, such as 0 2 * * *")
        )
    try:
        found = list(islice(runs_after(schedule, "UTC", START), COMPARED))
    except ScheduleUnusable as error:
        raise ValueError(str(error)) from error
    if not found or found[0] > START + FAR:
        raise ValueError(message("no day is ever as this schedule says"))
    if any(after - before < MIN_INTERVAL for before, after in pairwise(found)):
        raise ValueError(
            message(
                "a node may be asked every %(minutes)s minutes at most; this asks more often",
                minutes=MIN_INTERVAL // timedelta(minutes=1),
            )
        )
    return schedule


def _checked_zone(name: str) -> str:
    if not name or not is_zone(name):
        raise ValueError(message("must be the name of a time zone such as Europe/Berlin"))
    return name


Schedule = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        examples=["0 2 * * *"],
        description="minute, hour, day, month and weekday as cron(5) has them",
    ),
    LINE,
    AfterValidator(checked_schedule),
]
Zone = Annotated[
    str,
    Field(
        max_length=64,
        examples=["Europe/Berlin"],
        description="time zone of the schedule and of days such as yesterday",
    ),
    AfterValidator(_checked_zone),
]
