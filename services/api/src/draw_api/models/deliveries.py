"""Deliveries: what rules send where, and what operators do with them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import Field, StrictInt, model_validator

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.identifiers import OptionalUid
from draw_shared.contracts.texts import LINE
from draw_shared.routing.parts import MAX_NAME_LENGTH
from draw_shared.wording import message

RoutingDeliveryState = Literal[
    "pending", "running", "waiting", "delivered", "partial", "failed", "superseded"
]
OPEN: Final = ("pending", "waiting", "running")
"""States of deliveries that are not over."""
FINISHED: Final = ("delivered", "partial", "failed", "superseded")
NOT_ARRIVED: Final = ("failed", "partial")
RETRIED: Final = ("pending", "waiting", "partial", "failed")
"""States in which a delivery can be tried now or once more."""
EVERY_STATE: Final = (*OPEN, *FINISHED)
MAX_STEERED: Final = 500
"""Deliveries that one request retries or gives up."""
MAX_SHOWN_OBJECTS: Final = 100

GIVEN_UP_BY: Final = "given up by "
"""How the error of a delivery begins that somebody gave up."""

OptionalDestinationName = Annotated[str, Field(max_length=MAX_NAME_LENGTH), LINE]


@dataclass(frozen=True, slots=True)
class DeliveryCriteria:
    """Which deliveries; empty: all."""

    states: tuple[str, ...] = EVERY_STATE
    destination: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    whole_study: bool = False
    """Whether those of a series are also those of its whole study since it is here."""

    @classmethod
    def of(
        cls,
        *,
        state: str | None,
        finished: bool | None,
        destination: str,
        study_instance_uid: str,
        series_instance_uid: str,
    ) -> Self:
        """Return the criteria of a list; what is None or empty does not matter."""
        states: tuple[str, ...] = EVERY_STATE if state is None else (state,)
        if finished is not None:
            states = tuple(one for one in states if (one in FINISHED) == finished)
        return cls(states, destination, study_instance_uid, series_instance_uid)


class RoutedDelivery(Answer):
    """What one decision sends to one destination."""

    id: int
    destination: str = Field(examples=["contouring"])
    target: str = Field(
        description="where it is sent now: the destination, or a member of the group; empty: not"
        " decided yet"
    )
    state: RoutingDeliveryState
    error: str = Field(description="why it is not there, in words")
    rules: list[str] = Field(description="that applied and send to this destination")
    routing_version: int = Field(description="of these rules")
    sequence: int | None = Field(
        description="generation: the change of the feed that it follows from; null: a batch"
    )
    batch_id: UUID | None
    trigger: Literal["series_complete", "study_complete", "instance"]
    study_instance_uid: str
    series_instance_uid: str = Field(description="empty: the whole study")
    sop_instance_uid: str = Field(description="empty: all objects")
    patient_name: str = Field(description="as the index has it; empty: the study is gone")
    study_description: str
    study_date: date | None
    modality: str = Field(description="of the series")
    series_description: str
    instances: int = Field(description="objects that are to arrive")
    delivered: int = Field(description="objects that are known to be there")
    attempts: int = Field(description="failed tries at this target")
    created_at: datetime
    started_at: datetime | None
    next_try_at: datetime | None = Field(description="when it is tried next, if that is known")
    give_up_at: datetime = Field(description="when it ends if it has not arrived")
    finished_at: datetime | None
    job_id: UUID | None = Field(description="the job that carries it out")


class DeliveredObject(Answer):
    """An object that this delivery brought, and the answer to it."""

    sop_instance_uid: str
    endpoint: str = Field(examples=["PLANNING@192.0.2.17:104"])
    status: int = Field(description="status of the C-STORE; 0 is success, others are warnings")
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class FailedDeliveries:
    """Recent deliveries to one destination that did not arrive, and that nobody gave up."""

    destination: str
    number: int
    error: str
    """Of the newest one."""
    more: bool
    """Whether there are more, which were not counted."""


class RoutedDeliveryDetail(RoutedDelivery):
    """One delivery with what is known of it."""

    undecided: list[str] = Field(description="rules that a header that cannot be read decides")
    fields: dict[str, Any] = Field(description="what a webhook is told beside the identifiers")
    objects: list[DeliveredObject] = Field(
        description=f"that it brought to a node, at most {MAX_SHOWN_OBJECTS}; what others had"
        " brought before is not among them"
    )


class _Chosen(Request):
    """Some deliveries: by number, or all that meet criteria."""

    ids: list[Annotated[StrictInt, Field(ge=1, le=2**63 - 1)]] = Field(
        default=[],
        max_length=MAX_STEERED,
        description="numbers; empty: by the other fields",
        examples=[[7, 8]],
    )
    destination: OptionalDestinationName = ""
    study_instance_uid: OptionalUid = ""
    series_instance_uid: OptionalUid = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.ids) == bool(self.model_fields_set - {"ids"}):
            raise ValueError(message("give either ids or criteria"))
        return self

    def criteria_in(self, states: tuple[str, ...]) -> DeliveryCriteria:
        """Return the criteria, for deliveries in these states."""
        return DeliveryCriteria(
            states, self.destination, self.study_instance_uid, self.series_instance_uid
        )


class DeliveriesToRetry(_Chosen):
    """Deliveries to try now or once more, the oldest first."""

    state: Literal["pending", "waiting", "partial", "failed"] | None = Field(
        default=None, description="null: any of these"
    )


class DeliveriesToGiveUp(_Chosen):
    """Deliveries that are not to go on, the oldest first."""

    state: Literal["pending", "waiting", "running"] | None = Field(
        default=None, description="null: any of these"
    )


class DeliveryRefusal(Answer):
    """A delivery with which nothing was done."""

    id: int
    reason: str


class SteeredDeliveries(Answer):
    """What was done with several deliveries."""

    done: list[int] = Field(description="numbers of those with which it was done")
    refused: list[DeliveryRefusal]
    more: bool = Field(
        description=f"whether more than {MAX_STEERED} meet the criteria: ask again for the others"
    )
