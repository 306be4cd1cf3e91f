"""Decides where an accepted association is served: on the current thread, or elsewhere."""

from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol

from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome
from draw_shared.dicom.network.wire import Wire


class AssociationEnd(NamedTuple):
    """How an association ended; if it was not released, a fixed text says why."""

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
        """Serve the association, and return when it has ended.

        `here` serves it on the current thread and raises what ended it. An implementation that
        serves it elsewhere never calls `here`. The caller closes the connection.
        """
