"""C-ECHO (PS3.7 9.1.5)."""

from draw_scp.ports.operations import Echoed, OperationResults
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.dicom.network.statuses import DimseStatus


class EchoHandler:
    """Answers C-ECHO requests with success."""

    def __init__(self, results: OperationResults) -> None:
        self._results = results

    def echo(self, info: AssociationInfo) -> int:
        """Return success, always."""
        self._results.note(info, Echoed())
        return DimseStatus.SUCCESS
