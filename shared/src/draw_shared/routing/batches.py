"""Which series of the archive a batch applies rules to."""

from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, Field, model_validator

from draw_shared.contracts.identifiers import Uid
from draw_shared.contracts.texts import LINE
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.parts import RoutingPart
from draw_shared.wording import message

MAX_BATCH_STUDIES: Final = 1000


class BatchCriteria(RoutingPart):
    """Criteria of series that are complete; all of them must be met, none: every series."""

    received_from: AwareDatetime | None = Field(
        default=None, description="the last object came at this moment or later"
    )
    received_to: AwareDatetime | None = Field(
        default=None, description="the last object came before this moment"
    )
    modality: Annotated[str, Field(max_length=16), LINE] = Field(default="", examples=["CT"])
    study_instance_uids: tuple[Uid, ...] = Field(
        default=(), max_length=MAX_BATCH_STUDIES, description="empty: of any study"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        begin, end = self.received_from, self.received_to
        if begin is not None and end is not None and end <= begin:
            raise ValueError(message("received_to must be later than received_from"))
        return self

    def stored(self) -> dict[str, object]:
        """Return it in the form in which it is stored."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class ArchiveStep:
    """Some series of the archive."""

    series: tuple[str, ...]
    """UIDs."""
    reached: int
    """Up to this id none is left out."""
    last: bool
    """Whether there are no more."""


def document_of_batch(document: RoutingDocument, names: tuple[str, ...]) -> RoutingDocument:
    """Return the rules of a document that a batch applies, in their order.

    They are its active rules for complete series; of these the named ones, if any are named.
    """
    rules = tuple(
        rule
        for rule in document.rules
        if rule.active
        and rule.trigger is Trigger.SERIES_COMPLETE
        and (not names or rule.name in names)
    )
    return document.model_copy(update={"rules": rules})
