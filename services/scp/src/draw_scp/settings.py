"""Settings of the receiver; operators change the configuration document, not these, at runtime."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from draw_shared.contracts.server_config import IpNetwork
from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    StorageSettings,
    TranscodingSettings,
)


class ReceivingSettings(ServiceSettings, StorageSettings):
    """What a receiving process reads: peers talk to it, so it knows no secret."""

    service: ClassVar[str] = "scp"


class AnnouncingSettings(ServiceSettings, BrokerSettings, StorageSettings):
    """What the announcing process reads."""

    service: ClassVar[str] = "scp"


class ScpSettings(
    ServiceSettings, PostgresSettings, BrokerSettings, StorageSettings, TranscodingSettings
):
    """Everything that the receiver reads from its environment."""

    service: ClassVar[str] = "scp"

    scp_http_host: str = Field(
        default="127.0.0.1", description="address of /livez, /readyz and /metrics"
    )
    scp_http_port: int = Field(
        default=9101, ge=0, le=65535, description="port of /livez, /readyz and /metrics"
    )
    scp_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="DICOM port of this process, instead of the document's; 0 takes any free one",
    )
    scp_host: str | None = Field(
        default=None, description="address to listen on, instead of the document's"
    )
    scp_ae_title: str | None = Field(
        default=None, description="our AE title, instead of the document's"
    )
    scp_trusted_proxies: tuple[IpNetwork, ...] | None = Field(
        default=None,
        description="load balancers that must send a PROXY protocol v2 header, instead of the"
        " document's; JSON list of addresses and networks",
    )
    scp_reuse_port: bool = Field(
        default=False, description="let several replicas on one host share the DICOM port"
    )
    scp_processes: int | None = Field(
        default=None,
        ge=1,
        le=32,
        description="processes that receive side by side when several peers send at once; default"
        " one for each core, at most four",
    )
    scp_everything: bool = Field(
        default=False,
        description="a new suite's first configuration has all services, classes and transfer"
        " syntaxes on: read by `draw-admin migrate`; a receiver works by the configuration alone",
    )
    scp_loopback_reads: bool = Field(
        default=False,
        description="peers that call from this machine (loopback) may query and retrieve without"
        " being on the list of AE titles; `make run` sets it, so that trying is easy",
    )
    scp_query_connections: int = Field(
        default=16, ge=1, le=200, description="queries that are answered at the same time"
    )
    scp_query_seconds: int = Field(
        default=30, ge=1, le=3600, description="how long the index may work on one answer"
    )
    scp_tls_ca_file: Path | None = Field(
        default=None,
        description="PEM authorities that sign TLS destinations of C-MOVE; default the system's",
    )
    scp_tls_certificate_file: Path | None = Field(
        default=None, description="PEM certificate chain and key shown to TLS destinations"
    )
