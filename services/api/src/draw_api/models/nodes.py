"""Remote nodes, as operators set them up."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, computed_field

from draw_api.models.hosts import Host
from draw_api.models.paging import Answer, Request
from draw_shared.contracts.certificates import Fingerprint, OptionalFingerprint
from draw_shared.contracts.identifiers import AeTitle, OptionalAeTitle
from draw_shared.contracts.texts import LINE, TextForm
from draw_shared.wording import message

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ClockTime = Annotated[
    str,
    TextForm(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", message("must be a time of day such as 22:00")),
    Field(examples=["22:00"]),
]


class Window(Request):
    """A weekly span in which jobs may run; `start` after `end` runs past midnight."""

    days: list[Day] = Field(min_length=1, max_length=7)
    start: ClockTime
    end: ClockTime


class NodeSettings(Request):
    """The settings of a remote node."""

    name: Annotated[str, Field(min_length=1, max_length=64), LINE] = Field(examples=["PACS"])
    ae_title: AeTitle = Field(examples=["ORTHANC"])
    host: Host
    port: StrictInt = Field(ge=1, le=65535, examples=[4242])
    calling_ae: OptionalAeTitle = Field(
        default="", description="our AE title towards this node; empty: that of the configuration"
    )
    supports_find: StrictBool = True
    supports_move: StrictBool = True
    supports_get: StrictBool = False
    query_model: Literal["study", "patient", "patient_study"] = Field(
        default="study",
        description="study: Study Root; patient: Patient Root; patient_study: the retired"
        " Patient/Study Only, in which whole studies are retrieved",
    )
    timeout_seconds: StrictInt = Field(default=30, ge=1, le=3600)
    max_pdu_bytes: StrictInt = Field(default=16384, ge=4096, le=131072)
    move_destination: OptionalAeTitle = Field(
        default="", description="how this node calls us as destination; empty: our AE title"
    )
    stores_from: list[AeTitle] = Field(
        default=[], max_length=32, description="calling AE titles its C-STOREs come from"
    )
    tls: StrictBool = Field(
        default=False,
        description="speak TLS; its certificate must be signed by an authority and be for the host",
    )
    tls_fingerprint: OptionalFingerprint = Field(
        default="",
        description="certificate that it must show instead, whoever signed it: its SHA-256"
        " fingerprint, or the certificate in PEM; empty: none is pinned",
    )
    max_associations: StrictInt = Field(default=2, ge=1, le=32)
    max_bytes_per_second: StrictInt = Field(
        default=0, ge=0, le=2**40, description="0 means no limit"
    )
    windows: list[Window] = Field(default=[], max_length=28, description="empty: always")
    paused: StrictBool = Field(default=False, description="jobs wait until it is resumed")
    active: StrictBool = True


class NewPin(Request):
    """The certificate that a node must show from now on."""

    fingerprint: Fingerprint = Field(
        description="SHA-256 fingerprint, or the certificate in PEM;"
        " `last_test.certificate` of the node has what it showed",
        examples=[":".join(["A7"] * 32)],
    )


class Node(Answer):
    """A remote node with its settings and findings."""

    id: int
    name: str = Field(examples=["PACS"])
    ae_title: str = Field(examples=["ORTHANC"])
    host: str
    port: int
    calling_ae: str
    supports_find: bool
    supports_move: bool
    supports_get: bool
    query_model: str
    timeout_seconds: int
    max_pdu_bytes: int
    move_destination: str
    stores_from: list[str]
    tls: bool
    tls_fingerprint: str = Field(description="of the certificate that is pinned")
    max_associations: int
    max_bytes_per_second: int
    windows: list[Window]
    paused: bool
    active: bool
    circuit: dict[str, Any] = Field(
        description="failures in a row, and until when it is left alone"
    )
    congestion: dict[str, Any] = Field(
        description="how many associations it takes for now, since it refused more; empty: all"
    )
    capabilities: dict[str, Any]
    last_test: dict[str, Any]

    @computed_field(  # type: ignore[prop-decorator]
        description="matches after which it stopped answering queries, as far as it has shown"
    )
    @property
    def find_limit(self) -> int | None:
        """The limit that queries have found and that can be forgotten."""
        return self.capabilities.get("find_limit")

    @property
    def shown_certificate(self) -> dict[str, Any] | None:
        """The certificate at the last test, if it is not trusted and can be pinned."""
        shown: dict[str, Any] | None = self.last_test.get("certificate") if self.tls else None
        return shown

    created_at: datetime
    updated_at: datetime
