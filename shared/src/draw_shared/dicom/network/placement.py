"""Where an association is served once it is accepted: in the thread at hand, or elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome
from draw_shared.dicom.network.wire import Wire


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines of an association, in seconds, and the PDU size we announce, in bytes."""

    acse_seconds: float = 30.0
    dimse_seconds: float = 30.0
    network_seconds: float = 30.0
    max_pdu: int = 16384
    max_object_bytes: int = 8 * 1024**3


class AssociationEnd(NamedTuple):
    """How an association ended, and a fixed text that says why if it was not released."""

    outcome: AssociationOutcome
    reason: str = ""


class Placement(Protocol):
    """Decides where accepted associations are served."""

    def serve(
        self, info: AssociationInfo, wire: Wire, timing: Timing, here: Callable[[], NoReturn]
    ) -> AssociationEnd:
        """Return when the association has ended.

        `here` serves it in this thread and raises what ends it. Whoever serves it elsewhere
        ends it there, and never calls `here`; the connection is closed by the caller.
        """
