"""Ports of every DIMSE operation: rights, results, and what is done after the answer."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVarTuple

from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import AssociationInfo, StoreRequest
from draw_shared.storage.objects import Stored

Arguments = TypeVarTuple("Arguments")


class Deferral(Protocol):
    """Takes what is to be done when the peer has its answer."""

    def __call__(self, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Have `action` done soon with these arguments."""


class RightsDemand(Protocol):
    """Asks whether a peer still has the right to what it asks for."""

    def __call__(self, info: AssociationInfo, right: Right, destination: str = "") -> None:
        """Return when it has.

        Raises:
            Refused: it has not, or nothing may be sent to this move destination for it.
        """


class Echoed(NamedTuple):
    """A C-ECHO was answered."""


class StoreSucceeded(NamedTuple):
    """A C-STORE was answered with success."""

    request: StoreRequest
    stored: Stored
    seconds: float
    """From the request to the object being durable."""
    commit_seconds: float
    """From its last byte to the object being durable."""


class StoreRefused(NamedTuple):
    """A C-STORE was answered with a failure."""

    request: StoreRequest
    status: int
    reason: str
    """A fixed text."""
    seconds: float


Result = Echoed | StoreSucceeded | StoreRefused
"""What became of one operation of a sender."""


class OperationResults(Protocol):
    """Takes note of what became of senders' operations."""

    def note(self, info: AssociationInfo, result: Result) -> None:
        """Take note of one, in the order in which they happened."""
