"""The engine's ServiceProvider, put together from one object for each DIMSE service."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from draw_scp.handlers.echo import EchoHandler
from draw_scp.handlers.negotiate import Associations
from draw_scp.handlers.store import StoreHandler
from draw_shared.dicom.associate import AssociateRequest
from draw_shared.dicom.service import (
    Accept,
    AssociationInfo,
    Matches,
    ObjectSink,
    Outcome,
    Peer,
    QueryRequest,
    Reject,
    RetrieveEnd,
    SameAssociation,
    StoreRequest,
    SubOperations,
)


class FindService(Protocol):
    """Answers C-FIND."""

    def find(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Matches]:
        """Yield matches; the end is success, Refused any other final status."""


class GetService(Protocol):
    """Answers C-GET."""

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and at last the end."""


class MoveService(Protocol):
    """Answers C-MOVE."""

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[SubOperations | RetrieveEnd]:
        """Yield progress and at last the end."""


@dataclass(frozen=True, slots=True)
class Services:
    """One object for each service."""

    associations: Associations
    echo: EchoHandler
    store: StoreHandler
    find: FindService
    get: GetService
    move: MoveService


class Provider:
    """Hands each operation to its service."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def admit(self, peer: Peer, request: AssociateRequest) -> Accept | Reject:
        return self._services.associations.admit(peer, request)

    def opened(self, info: AssociationInfo) -> None:
        self._services.associations.opened(info)

    def closed(self, info: AssociationInfo, outcome: Outcome, reason: str) -> None:
        self._services.associations.closed(info, outcome, reason)

    def rejected(self, peer: Peer, request: AssociateRequest | None, reject: Reject) -> None:
        self._services.associations.rejected(peer, request, reject)

    def echo(self, info: AssociationInfo) -> int:
        return self._services.echo.echo(info)

    def store(self, info: AssociationInfo, request: StoreRequest) -> ObjectSink:
        return self._services.store.store(info, request)

    def find(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Matches]:
        return self._services.find.find(info, request, cancelled)

    def get(
        self,
        info: AssociationInfo,
        request: QueryRequest,
        channel: SameAssociation,
        cancelled: Callable[[], bool],
    ) -> Iterator[SubOperations | RetrieveEnd]:
        return self._services.get.get(info, request, channel, cancelled)

    def move(
        self, info: AssociationInfo, request: QueryRequest, cancelled: Callable[[], bool]
    ) -> Iterator[SubOperations | RetrieveEnd]:
        return self._services.move.move(info, request, cancelled)
