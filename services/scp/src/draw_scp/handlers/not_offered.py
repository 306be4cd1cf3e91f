"""What is answered for a service that this process does not offer."""

from collections.abc import Callable, Iterator

from draw_shared.dicom.service import (
    AssociationInfo,
    Matches,
    QueryRequest,
    Refused,
    RetrieveEnd,
    SameAssociation,
    SubOperations,
)
from draw_shared.dicom.statuses import Status


class NotOffered:
    """Refuses C-FIND, C-GET and C-MOVE."""

    def find(
        self, _info: AssociationInfo, _request: QueryRequest, _cancelled: Callable[[], bool]
    ) -> Iterator[Matches]:
        """Refuse."""
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "C-FIND is not offered")

    def get(
        self,
        _info: AssociationInfo,
        _request: QueryRequest,
        _channel: SameAssociation,
        _cancelled: Callable[[], bool],
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Refuse."""
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "C-GET is not offered")

    def move(
        self, _info: AssociationInfo, _request: QueryRequest, _cancelled: Callable[[], bool]
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Refuse."""
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "C-MOVE is not offered")
