"""What is known about a series, study or object when the rules are looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from draw_shared.routing import subjects
from draw_shared.routing.document import Trigger
from draw_shared.routing.subjects import ConditionSubject


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """The values of subjects by their canonical names.

    Values are texts as in the data set, without padding and without empty ones
    (`subjects.split_values`). An element of several objects has the different values of all.
    """

    trigger: Trigger
    values: Mapping[str, Sequence[str]]
    at: datetime
    """When it was complete or came."""
    unreadable: bool = False
    """Whether the header of one of the objects could not be read: elements may have more values."""
    awaited: bool = False
    """Whether a file cannot be read now: what it says, and if it is readable, is known later."""

    @property
    def hide(self) -> bool:
        """Whether elements may have values that nobody knows."""
        return self.unreadable or self.awaited


@dataclass(frozen=True, slots=True)
class ArrivalFacts:
    """How objects came, and how many."""

    calling_ae: Sequence[str] = ()
    called_ae: Sequence[str] = ()
    address: Sequence[str] = ()
    move_originator: Sequence[str] = ()
    reason: str = ""
    instances: int = 1
    new_instances: int = 1
    size_bytes: int = 0

    def values(self) -> dict[str, Sequence[str]]:
        """Return them under the names of subjects."""
        return {
            subjects.CALLING_AE: self.calling_ae,
            subjects.CALLED_AE: self.called_ae,
            subjects.ADDRESS: self.address,
            subjects.MOVE_ORIGINATOR: self.move_originator,
            subjects.REASON: (self.reason,) if self.reason else (),
            subjects.INSTANCES: (str(self.instances),),
            subjects.NEW_INSTANCES: (str(self.new_instances),),
            subjects.SIZE_BYTES: (str(self.size_bytes),),
        }


@dataclass(frozen=True, slots=True)
class HeaderValues:
    """What a file says about subjects."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By canonical name; absent and empty elements are left out."""
    complete: bool = False
    """Whether the header could be read as far as the subjects need it."""
    receiving_ae: str = ""
    sending_ae: str = ""
    sending_address: str = ""
    awaited: bool = False
    """Whether the file cannot be read now, but perhaps later."""


Reader = Callable[[str, Sequence[ConditionSubject]], HeaderValues]
"""Reads subjects from a file, by its path below the storage root."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why the rules are looked at: what the change feed says of a completion or a reception."""

    at: datetime
    reason: str = ""
    new_instances: int = 1


@dataclass(frozen=True, slots=True)
class ArchivedFacts:
    """The facts about what the archive has, and what they are about."""

    study_instance_uid: str
    series_instance_uid: str
    """Of a series or object."""
    instances: int
    facts: RoutingFacts
