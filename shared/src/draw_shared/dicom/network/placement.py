"""Where an association is served once it is accepted: in the thread at hand, or elsewhere."""

from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol

from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome
from draw_shared.dicom.network.wire import Wire


class AssociationEnd(NamedTuple):
    """How an association ended, and a fixed text that says why if it was not released."""

    outcome: AssociationOutcome
    reason: str = ""


class Placement(Protocol):
    """Decides where accepted associations are served."""

    def serve(
        self,
        info: AssociationInfo,
        wire: Wire,
        limits: AssociationLimits,
        here: Callable[[], NoReturn],
    ) -> AssociationEnd:
        """Return when the association has ended.

        `here` serves it in this thread and raises what ends it. Whoever serves it elsewhere
        ends it there, and never calls `here`; the connection is closed by the caller.
        """
