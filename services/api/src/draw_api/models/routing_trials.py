"""What other rules would have done, and rules that are applied to the archive."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from draw_api.models.paging import Answer, Request
from draw_shared.routing.batches import BatchCriteria
from draw_shared.routing.document import RoutingDocument
from draw_shared.routing.parts import Name
from draw_shared.wording import message

MAX_REPLAY_DAYS = 7
MAX_REPLAYED_SERIES = 5000
MAX_LISTED = 100
"""Series that an answer lists; the counts are of all."""

TrialEnd = Literal["all", "limit", "time"]


class ReplayQuestion(Request):
    """What rules would have done in the last days."""

    document: RoutingDocument | None = Field(
        default=None, description="rules that are not saved; null: those of `version`"
    )
    version: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=2**31 - 1,
        description="of saved rules; null: those in force",
    )
    days: int = Field(default=MAX_REPLAY_DAYS, strict=True, ge=1, le=MAX_REPLAY_DAYS)
    limit: int = Field(
        default=MAX_REPLAYED_SERIES,
        strict=True,
        ge=1,
        le=MAX_REPLAYED_SERIES,
        description="series, newest first",
    )

    @model_validator(mode="after")
    def _one_document(self) -> Self:
        if self.document is not None and self.version is not None:
            raise ValueError(message("give either document or version"))
        return self


class RuleTrial(Answer):
    """How often a rule applies now, and how often a rule of this name has applied."""

    name: str
    applies: int = Field(description="series to which it applies by these rules")
    undecided: int = Field(description="series of which a header cannot be read")
    applied: int = Field(description="series to which it was applied")


class DestinationTrial(Answer):
    """How many series a destination would get, and how many it was to get."""

    name: str
    would: int = Field(description="series that these rules send")
    was: int = Field(description="series that were sent, or are to be")
    added: int = Field(description="of `would`, those that were not sent")
    no_longer: int = Field(description="of `was`, those that these rules do not send")


class ReplayDifference(Answer):
    """A series that would go elsewhere."""

    series_instance_uid: str
    study_instance_uid: str
    completed_at: datetime
    rules: list[str] = Field(description="that apply")
    undecided: list[str] = Field(description="rules that a header that cannot be read decides")
    added: list[str] = Field(description="destinations that it did not go to")
    no_longer: list[str] = Field(description="destinations that it went to")


class RoutingReplay(Answer):
    """What rules would have done beside what was done; nothing is sent."""

    version: int | None = Field(description="of the rules; null: they are not saved")
    days: int
    series: int = Field(description="that were complete in this time and were looked at")
    gone: int = Field(description="further series that are not in the archive any more")
    ended_by: TrialEnd = Field(
        description="`all`: everything was looked at; `limit`, `time`: only the newest were"
    )
    reached: datetime | None = Field(description="the oldest completion that was looked at")
    rules: list[RuleTrial]
    destinations: list[DestinationTrial]
    different: int = Field(description="series that would go elsewhere")
    differences: list[ReplayDifference] = Field(
        description=f"the newest {MAX_LISTED} of them, newest first"
    )


class BatchOrder(Request):
    """Rules in force that are to be applied to series of the archive."""

    criteria: BatchCriteria = Field(default=BatchCriteria())
    rules: tuple[Name, ...] = Field(
        default=(), max_length=200, description="names of active rules; empty: all"
    )
    preview: bool = Field(default=False, strict=True, description="only say what would be done")


class PreviewedSeries(Answer):
    """A series, and where it would go."""

    series_instance_uid: str
    study_instance_uid: str
    destinations: list[str]


class RoutingBatchPreview(Answer):
    """What a batch would do; nothing is sent or kept."""

    routing_version: int
    series: int = Field(description="that meet the criteria, of those that were looked at")
    deliveries: int
    undecided: int = Field(description="series of which a header cannot be read")
    ended_by: TrialEnd = Field(
        description="`all`: the whole archive was looked at; else the batch would do more"
    )
    rules: dict[str, int] = Field(description="series to which each rule applies")
    destinations: dict[str, int] = Field(description="deliveries to each destination")
    listed: list[PreviewedSeries] = Field(
        description=f"the first {MAX_LISTED} series that go somewhere"
    )


class RoutingBatch(Answer):
    """Rules that are applied to series of the archive, and how far that is."""

    id: UUID
    routing_version: int
    rules: list[str] = Field(description="empty: all that were active")
    criteria: BatchCriteria
    state: Literal["running", "complete", "cancelled", "failed"]
    progress_percent: int = Field(description="of the archive that was looked at")
    series: int = Field(description="that met the criteria so far")
    deliveries: int = Field(description="that were made so far")
    error: str
    created_at: datetime
    created_by: str
    finished_at: datetime | None
