"""Ports of every DIMSE operation: rights, results, and tasks that follow the answer."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVarTuple

from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import AssociationInfo, StoreRequest
from draw_shared.storage.objects import Stored

Arguments = TypeVarTuple("Arguments")


class Deferral(Protocol):
    """Takes tasks that can wait until the peer has its answer."""

    def __call__(self, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call `action` soon with these arguments."""


class RightsDemand(Protocol):
    """Checks whether a peer still has the right to what it asks for."""

    def __call__(self, info: AssociationInfo, right: Right, destination: str = "") -> None:
        """Return if it has.

        Raises:
            OperationRefused: it has not, or may not have objects sent to this move destination.
        """


class Echoed(NamedTuple):
    """A C-ECHO was answered."""


class StoreSucceeded(NamedTuple):
    """A C-STORE was answered with success."""

    request: StoreRequest
    stored: Stored
    seconds: float
    """From the request until the object was durable."""
    commit_seconds: float
    """From its last byte until the object was durable."""


class StoreRefused(NamedTuple):
    """A C-STORE was answered with a failure."""

    request: StoreRequest
    status: int
    reason: str
    """A fixed text."""
    seconds: float


Result = Echoed | StoreSucceeded | StoreRefused
"""Outcome of one operation of a sender."""


class OperationResults(Protocol):
    """Accepts the outcomes of senders' operations."""

    def note(self, info: AssociationInfo, result: Result) -> None:
        """Accept one outcome; calls must be in the order in which they happened."""
