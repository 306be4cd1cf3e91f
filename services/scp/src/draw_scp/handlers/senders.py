"""The operations of a receiving process: C-ECHO and C-STORE, and nothing else."""

from typing import NoReturn

from draw_scp.handlers.echo import EchoHandler
from draw_scp.handlers.store import StoreHandler
from draw_shared.dicom.network.service import (
    AssociationInfo,
    ObjectSink,
    OperationRefused,
    StoreRequest,
)
from draw_shared.dicom.network.statuses import DimseStatus


class SenderOperations:
    """Serves associations that negotiated only verification and storage."""

    def __init__(self, echo: EchoHandler, store: StoreHandler) -> None:
        self._echo = echo
        self._store = store

    def echo(self, info: AssociationInfo) -> int:
        return self._echo.echo(info)

    def store(self, info: AssociationInfo, request: StoreRequest) -> ObjectSink:
        return self._store.store(info, request)

    def _not_negotiated(self, *_: object, **__: object) -> NoReturn:
        raise OperationRefused(DimseStatus.SOP_CLASS_NOT_SUPPORTED)

    find = get = move = _not_negotiated
