"""Settings of the DICOMweb service."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from draw_shared.addresses import networks_of
from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    TransactionLogSettings,
    TranscodingSettings,
)


class DicomwebSettings(
    ServiceSettings, PostgresSettings, BrokerSettings, TransactionLogSettings, TranscodingSettings
):
    """Everything the service reads from its environment."""

    service: ClassVar[str] = "dicomweb"

    dicomweb_host: str = Field(default="127.0.0.1", description="address to listen on")
    dicomweb_port: int = Field(
        default=8042, ge=0, le=65535, description="TCP port; 0 picks a free one"
    )
    dicomweb_trusted_proxies: Annotated[str, AfterValidator(networks_of)] = Field(
        default="",
        description="addresses and networks, separated by commas, whose X-Forwarded-For and -Proto"
        " are believed",
    )
    dicomweb_connections_per_address: int = Field(
        default=100,
        ge=4,
        le=800,
        description="most connections of one address, or of one IPv6 /64; the oldest without a"
        " request gives way to a new one; trusted proxies have no limit",
    )
    dicomweb_max_results: int = Field(
        default=1000, ge=1, le=100_000, description="most matches in one answer to a search"
    )
    dicomweb_query_connections: int = Field(
        default=8, ge=2, le=64, description="connections to the database for searches"
    )
    dicomweb_query_seconds: int = Field(
        default=60, ge=1, le=3600, description="how long the database may work on one search"
    )
