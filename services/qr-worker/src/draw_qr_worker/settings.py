"""Settings of the worker."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    StorageSettings,
    TranscodingSettings,
)


class QrWorkerSettings(
    ServiceSettings, PostgresSettings, BrokerSettings, StorageSettings, TranscodingSettings
):
    """Everything the worker reads from its environment."""

    service: ClassVar[str] = "qr-worker"

    qr_worker_http_host: str = Field(
        default="127.0.0.1", description="address of /livez, /readyz and /metrics"
    )
    qr_worker_http_port: int = Field(
        default=9103, ge=0, le=65535, description="port of /livez, /readyz and /metrics"
    )
    qr_worker_jobs: int = Field(
        default=8,
        ge=1,
        le=64,
        description="jobs that run at the same time in this process, without those deliveries whose"
        " node is silent",
    )
    qr_worker_lease_seconds: float = Field(
        default=30.0, gt=2, description="a job whose worker is silent this long is taken over"
    )
    qr_worker_sweep_seconds: float = Field(
        default=1.0, gt=0, description="how often leases are renewed and waiting jobs looked at"
    )
    qr_worker_arrival_seconds: float = Field(
        default=15.0,
        gt=0,
        description="a retrieve waits this long after the last arrival for missing instances",
    )
    qr_worker_max_studies_per_item: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="a retrieve of a patient or accession number that has more studies is refused",
    )
    qr_worker_back_off_seconds: tuple[float, ...] = Field(
        default=(5.0, 30.0, 120.0, 600.0),
        description="delays before each further try after a transient failure, JSON list",
    )
    qr_worker_time_zone: str = Field(
        default="", description="zone of nodes' weekly windows, as Europe/Berlin; default local"
    )
    qr_worker_tls_ca_file: Path | None = Field(
        default=None, description="PEM authorities that sign TLS nodes; default the system's"
    )
    qr_worker_tls_certificate_file: Path | None = Field(
        default=None, description="PEM certificate chain and key shown to TLS nodes"
    )
