"""The list of AE titles with their rights, and decisions about associations."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.peers import (
    Address,
    AllowedAeTitle,
    AllowedAeTitleSettings,
    Caller,
    Explanation,
    OptionalCertificateName,
    PeerToAllow,
    Proposal,
    RejectedPeer,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.identifiers import AeTitle, OptionalAeTitle, Uid
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

titles = APIRouter(prefix="/api/v1/ae-titles", tags=["access"])
access = APIRouter(prefix="/api/v1/access", tags=["access"])

MayReadPeers = Annotated[Principal, requires(Permission.READ_PEERS)]
MayManagePeers = Annotated[Principal, requires(Permission.MANAGE_PEERS)]

NOT_FOUND: Final = responses(HTTPStatus.NOT_FOUND)
CONFLICT: Final = responses(HTTPStatus.CONFLICT)


@titles.get("")
def allowed(
    _: MayReadPeers, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[AllowedAeTitle]:
    """Return the allowed calling AE titles, in the order in which they were added."""
    return work.peers.allowed(cursor, limit)


@titles.post("", status_code=HTTPStatus.CREATED, responses=CONFLICT)
def add(
    response: Response, by: MayManagePeers, work: InWork, body: AllowedAeTitleSettings
) -> AllowedAeTitle:
    """Allow a calling AE title."""
    made = work.peers.add(by, body)
    response.headers["Location"] = f"{titles.prefix}/{made.id}"
    return made


@titles.get("/{ae_title_id}", responses=NOT_FOUND)
def one(_: MayReadPeers, work: InWork, ae_title_id: RowId) -> AllowedAeTitle:
    """Return one allowed AE title."""
    return work.peers.one(ae_title_id)


@titles.put("/{ae_title_id}", responses=NOT_FOUND | CONFLICT)
def replace(
    by: MayManagePeers, work: InWork, ae_title_id: RowId, body: AllowedAeTitleSettings
) -> AllowedAeTitle:
    """Replace all settings of an allowed AE title; omitted ones get their default."""
    return work.peers.replace(by, ae_title_id, body)


@titles.delete("/{ae_title_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def remove(by: MayManagePeers, work: InWork, ae_title_id: RowId) -> None:
    """Remove an AE title from the list; its open associations continue."""
    work.peers.remove(by, ae_title_id)


@access.get("/explain")
def explain(
    _: MayReadPeers,
    work: InWork,
    calling_ae: Annotated[AeTitle, Query(examples=["CT_ROOM_2"])],
    address: Annotated[Address, Query(min_length=2)],
    called_ae: Annotated[
        OptionalAeTitle, Query(description="empty: ours", examples=["DRAW_SCP"])
    ] = "",
    sop_class_uid: Annotated[
        Uid | None, Query(examples=["1.2.840.10008.5.1.4.1.1.2"], description="none: any")
    ] = None,
    transfer_syntax_uid: Annotated[
        list[Uid] | None,
        Query(
            max_length=64,
            examples=[["1.2.840.10008.1.2.1"]],
            description="in the peer's order; none: Explicit and Implicit VR Little Endian",
        ),
    ] = None,
    certificate: Annotated[OptionalCertificateName, Query()] = "",
) -> Explanation:
    """Explain by the receiver's own rules whether it would accept a peer, and with which rights."""
    return work.peers.explain(
        Proposal(
            calling_ae=calling_ae,
            address=address,
            called_ae=called_ae,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uids=tuple(transfer_syntax_uid or ()),
            certificate=certificate,
        )
    )


@access.get("/callers")
def callers(_: MayReadPeers, work: InWork) -> list[Caller]:
    """Return who associated in the last 30 days, last seen first, by AE title and address.

    `would_be_rejected` says whom switching the check of calling AE titles on would lock out.
    """
    return work.peers.callers()


@access.get("/rejected-peers")
def rejected(
    _: MayReadPeers,
    work: InWork,
    days: Annotated[int, Query(ge=1, le=90, description="how far back")] = 7,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[RejectedPeer]:
    """Return the rejected peers, by AE title, address and reason, last seen first."""
    return work.peers.rejected(datetime.now(UTC) - timedelta(days=days), None, cursor, limit)


@access.post("/rejected-peers/allow", status_code=HTTPStatus.CREATED)
def allow(by: MayManagePeers, work: InWork, body: PeerToAllow) -> Explanation:
    """Allow a rejected peer, and explain what would happen if it called again now."""
    return work.peers.allow(by, body)
