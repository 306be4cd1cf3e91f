"""Received objects over time, what happened on the last day, what arrived last."""

from datetime import date, datetime

from pydantic import Field

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


class LastDay(Answer):
    """The transactions of the last 24 hours in numbers."""

    since: datetime
    stored: int = Field(description="objects accepted by C-STORE")
    stored_bytes: int
    queried: int = Field(description="C-FIND operations")
    retrieved: int = Field(description="C-MOVE and C-GET operations")
    rejected: int = Field(description="associations that were rejected")
    failed: int = Field(description="DIMSE operations that ended with a failure")
    mean_bytes_per_second: float | None = Field(
        description="of C-STORE, while objects were received; null: none was"
    )
    peak_bytes_per_second: float | None = Field(description="of the object received fastest")


class LastReceived(Answer):
    """What arrived last of one modality."""

    modality: str = Field(examples=["CT"])
    received_at: datetime
    calling_ae: str = Field(description="a sender of that series", examples=["CT_ROOM_2"])
