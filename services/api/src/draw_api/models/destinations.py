"""Destinations of the rules in force, and how they do."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from draw_api.models.paging import Answer

DestinationMode = Literal["active", "paused", "draining"]


class DestinationSummary(Answer):
    """A destination, what waits for it, and how it does."""

    name: str = Field(examples=["contouring"])
    kind: str = Field(examples=["node"])
    goes_to: str = Field(
        description="in words", examples=["the remote node PLANNING (PLAN@192.0.2.17:104)"]
    )
    members: list[str] = Field(description="of a group")
    members_get: Literal["", "failover", "any", "all"] = Field(
        description="how a group chooses among them; `all`: each has deliveries and a state of its"
        " own, and the group has none"
    )
    give_up_after_days: int
    mode: DestinationMode = Field(
        description="`paused`: nothing new is begun; `draining`: only what was decided before; what"
        " is held back waits"
    )
    mode_since: datetime | None = Field(description="null: nobody has changed it")
    mode_by: str
    pending: int = Field(description="deliveries that have not begun")
    running: int
    waiting: int = Field(description="deliveries of which a try has failed")
    oldest_seconds: float | None = Field(description="age of the oldest of these; null: none")
    delivered_last_hour: int
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str
    failures: int = Field(description="failed tries in a row")
    failing_since: datetime | None = Field(description="null: the last try has succeeded")
    in_force: str = Field(description="of a group: the member that was chosen last")
