"""The engine's ServiceProvider: maps each of its questions to the function that answers it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from draw_shared.dicom.network.associate import AssociateRequest
from draw_shared.dicom.network.service import (
    Accept,
    AssociationInfo,
    AssociationOutcome,
    Matches,
    ObjectSink,
    Peer,
    QueryRequest,
    Reject,
    RetrieveEnd,
    SameAssociation,
    StoreRequest,
    SubOperations,
)

Cancelled = Callable[[], bool]
Retrieving = Iterator[SubOperations | RetrieveEnd]


@dataclass(frozen=True, slots=True)
class Provider:
    """Built by the composition root; `ServiceProvider` documents what each function promises."""

    admit: Callable[[Peer, AssociateRequest], Accept | Reject]
    opened: Callable[[AssociationInfo], None]
    closed: Callable[[AssociationInfo, AssociationOutcome, str], None]
    rejected: Callable[[Peer, AssociateRequest | None, Reject], None]
    echo: Callable[[AssociationInfo], int]
    store: Callable[[AssociationInfo, StoreRequest], ObjectSink]
    find: Callable[[AssociationInfo, QueryRequest, Cancelled], Iterator[Matches]]
    get: Callable[[AssociationInfo, QueryRequest, SameAssociation, Cancelled], Retrieving]
    move: Callable[[AssociationInfo, QueryRequest, Cancelled], Retrieving]
