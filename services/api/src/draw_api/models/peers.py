"""Calling AE titles and their rights, and explanations of decisions about them."""

import hashlib
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StrictBool, TypeAdapter, ValidationError

from draw_api.models.paging import Answer, Request
from draw_shared.addresses import address_of
from draw_shared.contracts.certificates import CertificateName
from draw_shared.contracts.identifiers import AeTitle, OptionalAeTitle, Uid
from draw_shared.contracts.texts import LINE
from draw_shared.dicom.network import admission
from draw_shared.dicom.network.rights import EVERY_RIGHT, Right
from draw_shared.wording import message


def _check_address(value: str) -> str:
    if not value:
        return ""
    if "%" in value:
        raise ValueError(message("must be an address without a zone"))
    return str(address_of(value))


Address = Annotated[
    str,
    Field(max_length=45, description="IPv4 or IPv6 address", examples=["192.0.2.17"]),
    AfterValidator(_check_address),
]


def _in_order(rights: tuple[Right, ...]) -> tuple[Right, ...]:
    return tuple(right for right in Right if right in rights)


Rights = Annotated[tuple[Right, ...], AfterValidator(_in_order)]
"""Rights, each once and in one order."""


def _check_certificate(value: str) -> str:
    return CERTIFICATE_NAME.validate_python(value) if value.strip() else ""


AE_TITLE: Final = TypeAdapter[str](AeTitle)
CERTIFICATE_NAME: Final = TypeAdapter[str](CertificateName)

OptionalCertificateName = Annotated[
    str,
    Field(max_length=200, description="name or fingerprint of the certificate that is shown"),
    AfterValidator(_check_certificate),
]


class AllowedAeTitleSettings(Request):
    """The settings of a calling AE title."""

    ae_title: AeTitle = Field(examples=["CT_ROOM_2"])
    description: Annotated[str, Field(max_length=200), LINE] = Field(
        default="", examples=["CT scanner, room 2"]
    )
    expected_ip: Address = Field(
        default="", description="the only address it may call from; empty: any"
    )
    rights: Rights = Field(
        default=EVERY_RIGHT,
        description="services that it may use: echo, store, query (C-FIND), retrieve (C-GET) and"
        " move (C-MOVE)",
        examples=[["echo", "store"]],
    )
    move_destinations: tuple[AeTitle, ...] = Field(
        default=(),
        max_length=50,
        description="AE titles to which it may have objects moved; empty: every remote node",
    )
    certificates: tuple[CertificateName, ...] = Field(
        default=(),
        max_length=20,
        description="names (common or alternative) or SHA-256 fingerprints of certificates; it is"
        " refused unless it shows one of them over TLS; empty: none is needed",
    )
    settle_time_seconds: Annotated[int, Field(strict=True, ge=0, le=3600)] | None = Field(
        default=None,
        description="time from the end of its associations until the series that they brought are"
        " complete, seconds; empty: as configured",
    )
    active: StrictBool = Field(
        default=True, description="off: as if it were not on the list, but not forgotten"
    )


class AllowedAeTitle(Answer):
    """A calling AE title on the list."""

    id: int = Field(examples=[4])
    ae_title: str = Field(examples=["CT_ROOM_2"])
    description: str
    expected_ip: str = Field(examples=["192.0.2.17"])
    rights: list[str] = Field(examples=[["echo", "store"]])
    move_destinations: list[str]
    certificates: list[str]
    settle_time_seconds: int | None
    active: bool
    created_at: datetime
    updated_at: datetime


class Check(Answer):
    """One rule and whether the peer passes it."""

    rule: str = Field(examples=["calling AE title"])
    passed: bool
    words: str = Field(examples=["CT_ROOM_2 is allowed from any address"])


class RightAnswer(Answer):
    """Whether a peer has a right, and why."""

    right: Right
    granted: bool
    words: str = Field(examples=["the AE title is not on the list"])


class Explanation(Answer):
    """Whether a proposal would be accepted, and why."""

    accepted: bool = Field(description="the association, and in it the SOP class if one is given")
    verdict: str = Field(examples=["the calling AE title is not allowed"])
    rejection: str | None = Field(
        default=None,
        description="result/source/reason of the A-ASSOCIATE-RJ (PS3.8 9.3.4)",
        examples=["1/1/3"],
    )
    transfer_syntax_uid: str | None = Field(
        default=None, description="the transfer syntax that would be chosen"
    )
    checks: list[Check]
    rights: list[RightAnswer] = Field(description="what the peer may do once it is associated")


class Proposal(Request):
    """A peer's proposal."""

    calling_ae: AeTitle
    address: Address
    called_ae: OptionalAeTitle = ""
    sop_class_uid: Uid | None = None
    certificate: OptionalCertificateName = ""
    transfer_syntax_uids: tuple[Uid, ...] = ()


def title_problem(ae_title: str | None) -> str:
    """Return why nobody could allow such an AE title, and what to change; empty: nothing."""
    if ae_title is None:
        return ""
    try:
        AE_TITLE.validate_python(ae_title)
    except ValidationError:
        pass
    else:
        return ""
    if not ae_title.strip(" "):
        return message(
            "The device calls with an empty AE title. Enter one of 1 to 16 characters in its DICOM"
            " settings, as the local or calling AE title."
        )
    if "\\" in ae_title:
        return message(
            "The AE title has a backslash, which DICOM uses between values. Enter one without it"
            " in the DICOM settings of the device, as the local or calling AE title."
        )
    return message(
        "The AE title has line ends or other characters that are not printable ASCII. Enter one of"
        " letters, digits, space, - and _ in the DICOM settings of the device, as the local or"
        " calling AE title."
    )


class RejectedPeer(Answer):
    """A peer that was rejected, with the same reason each time."""

    calling_ae: str | None = Field(
        description="null when it was rejected before it named itself", examples=["CT_ROOM_2"]
    )
    peer_address: str = Field(examples=["192.0.2.17"])
    reason: str = Field(examples=["the calling AE title is not allowed (1/1/3)"])
    called_ae: str = Field(
        default="", description="what it called us the last time", examples=["DRAW_SCP"]
    )
    count: int = Field(examples=[12])
    first_seen: datetime
    last_seen: datetime
    can_be_allowed: bool = Field(description="allowing it would change the outcome")
    denied_rights: tuple[Right, ...] = Field(
        default=(), description="rights that it lacked; allow it these to change the outcome"
    )
    denied_destination: str = Field(
        default="", description="AE title to which it might have nothing moved"
    )

    @property
    def title_problem(self) -> str:
        """Why nobody could allow its AE title, and what to change; empty: nothing."""
        return title_problem(self.calling_ae)

    @property
    def called_wrongly(self) -> bool:
        """Whether it was rejected for what it called us."""
        return bool(self.called_ae) and self.reason.startswith(admission.UNKNOWN_CALLED.words)

    @property
    def key(self) -> str:
        """What tells this peer and reason from others on a page."""
        told = "\0".join((self.calling_ae or "", self.peer_address, self.reason))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


class Caller(Answer):
    """A calling AE title at one address that has associated lately."""

    calling_ae: str = Field(examples=["CT_ROOM_2"])
    peer_address: str = Field(examples=["192.0.2.17"])
    last_seen: datetime
    associations: int = Field(description="in the last 30 days, among the newest 20,000")
    objects_in_24_hours: int = Field(description="images stored in the last 24 hours")
    would_be_rejected: bool = Field(
        description="by the check of calling AE titles (`security.validate_calling_ae`), if it were"
        " on"
    )
    can_be_allowed: bool = Field(description="putting it on the list would admit it then")
    denied_rights: tuple[Right, ...] = Field(default=(), exclude=True)
    denied_destination: str = Field(default="", exclude=True)

    @property
    def title_problem(self) -> str:
        """Why nobody could allow its AE title, and what to change; empty: nothing."""
        return title_problem(self.calling_ae)


class PeerToAllow(Request):
    """A rejected peer that is to be allowed."""

    calling_ae: AeTitle = Field(examples=["CT_ROOM_2"])
    address: Address = Field(min_length=2, examples=["192.0.2.17"])
    only_from_address: StrictBool = Field(
        default=False, description="let the AE title in from this address only"
    )
    rights: Rights = Field(
        default=(),
        description="rights that it gets beside those that it has, if it is on the list, or those"
        " of AE titles that are not; empty: if it is not on the list, all",
        examples=[["query", "move"]],
    )
    move_destination: OptionalAeTitle = Field(
        default="", description="AE title to which it may have objects moved as well"
    )
