"""What a device must know of us, and how its calls ended."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from draw_api.models.paging import Answer
from draw_api.models.peers import Explanation, title_problem
from draw_shared.dicom.network.rights import Right


class OwnData(Answer):
    """What the other side has to be told about the receiver."""

    ae_title: str = Field(examples=["DRAW_SCP"])
    addresses: list[str] = Field(
        description="the host by which this was asked for, then what receivers know of themselves;"
        " none is of this machine alone",
        examples=[["pacs.example.org", "192.0.2.10"]],
    )
    ports: list[int] = Field(description="without TLS", examples=[[11112]])
    tls_ports: list[int] = Field(examples=[[2762]])
    receiving: bool = Field(
        description="a receiver accepts associations on these ports now; else they are those of the"
        " configuration"
    )


@dataclass(frozen=True, slots=True)
class PeerLine:
    """One line of the transaction log about a peer."""

    occurred_at: datetime
    kind: str
    outcome: str
    association_id: str | None
    calling_ae: str | None
    called_ae: str | None
    peer_address: str | None
    detail: str | None


class DeviceCall(Answer):
    """The calls of one peer: an AE title at an address."""

    calling_ae: str | None = Field(
        description="null when it was rejected before it named itself", examples=["CT_ROOM_2"]
    )
    peer_address: str = Field(examples=["192.0.2.17"])
    called_ae: str | None = Field(description="what it called us", examples=["DRAW_SCP"])
    first_seen: datetime
    last_seen: datetime
    associations: int = Field(description="as far as they are among the newest lines")
    echoed: bool = Field(description="its last association was verified by C-ECHO")
    images: int = Field(description="C-STOREs among the newest lines")
    rejection: str | None = Field(
        description="why its last association was rejected, or what it was denied",
        examples=["the calling AE title is not allowed (1/1/3)"],
    )
    explanation: Explanation | None = Field(
        description="what would happen if a rejected peer called again now"
    )
    can_be_allowed: bool = Field(description="allowing it would change the outcome")
    denied_rights: tuple[Right, ...] = ()
    denied_destination: str = ""

    @property
    def key(self) -> str:
        """What tells this peer from others on a page."""
        told = "\0".join((self.calling_ae or "", self.peer_address))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def title_problem(self) -> str:
        """Why nobody could allow its AE title, and what to change; empty: nothing."""
        return title_problem(self.calling_ae)
