"""Settings of the indexer."""

from typing import ClassVar

from pydantic import Field

from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    TransactionLogSettings,
)


class IndexerSettings(ServiceSettings, PostgresSettings, BrokerSettings, TransactionLogSettings):
    """Everything the indexer reads from its environment."""

    service: ClassVar[str] = "indexer"

    indexer_http_host: str = Field(
        default="127.0.0.1", description="address of /livez, /readyz and /metrics"
    )
    indexer_http_port: int = Field(
        default=9102, ge=0, le=65535, description="port of /livez, /readyz and /metrics"
    )
    indexer_batch: int = Field(
        default=200, ge=1, le=2000, description="most objects that are indexed in one transaction"
    )
    indexer_wait_seconds: float = Field(
        default=0.1, ge=0, le=5, description="how long a batch waits to become full"
    )
    indexer_readers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="processes that read headers; as many batches are under way",
    )
    indexer_read_seconds: float = Field(
        default=30.0, gt=0, description="a batch whose headers take longer is read again later"
    )
    indexer_read_cpu_seconds: int = Field(
        default=5, ge=1, description="processor time after which a header is given up as hostile"
    )
    indexer_read_memory_mb: int = Field(
        default=384, ge=256, description="memory of a process that reads headers"
    )
    indexer_stability_seconds: float = Field(
        default=0.5, gt=0, description="how often complete series and studies are looked for"
    )
    indexer_clean_up_seconds: float = Field(
        default=60.0, gt=0, description="how often studies beyond retention are looked for"
    )
    indexer_lost_announcements_seconds: float = Field(
        default=5.0,
        gt=0,
        description="how often the index is compared with the announcements; objects that are"
        " missing four times are announced again",
    )
    indexer_changes_days: int = Field(
        default=90, ge=1, description="how long the change feed is kept, days"
    )
    indexer_webhook_pauses_seconds: tuple[float, ...] = Field(
        default=(5, 30, 120, 600, 1800, 7200, 21600),
        description="pauses after a webhook's failures, up to a fifth longer; one failure more and"
        " a delivery is dead",
    )
    indexer_webhook_failing_days: float = Field(
        default=5, gt=0, description="a webhook that has failed for so long is disabled, days"
    )
    indexer_webhook_delivered_days: int = Field(
        default=7, ge=1, description="how long deliveries that were made are kept, days"
    )
