"""Received objects per minute and per day."""

from datetime import date, datetime

from draw_api.models.paging import Answer


class ReceivedMinute(Answer):
    """What was accepted within one minute."""

    minute: datetime
    objects: int
    size_bytes: int


class ReceivedDay(Answer):
    """What was indexed on one day (UTC)."""

    day: date
    objects: int
    size_bytes: int


class Throughput(Answer):
    """What was received lately; minutes and days without objects are left out."""

    minutes: list[ReceivedMinute]
    days: list[ReceivedDay]
