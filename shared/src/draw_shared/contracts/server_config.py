"""The receiver's configuration: one versioned document with every setting, default and range."""

from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from draw_shared.contracts.identifiers import OwnAeTitle, Uid

TimeoutSeconds = Annotated[int, Field(ge=5, le=300)]


def _checked_network(value: str) -> str:
    return str(ip_network(value.strip(), strict=False))


IpNetwork = Annotated[str, AfterValidator(_checked_network)]
"""An address or a CIDR block, IPv4 or IPv6."""


class StorageStructure(StrEnum):
    """Folders below `objects/` in which a new object is filed."""

    FLAT = "flat"
    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    DATE = "date"


class FileNaming(StrEnum):
    """How the file of a new object is called."""

    SOP_UID = "sop_uid"
    INSTANCE_NUMBER = "instance_number"
    TIMESTAMP = "timestamp"
    SEQUENTIAL = "sequential"


class DuplicatePolicy(StrEnum):
    """Which object is current when a SOP instance arrives again with other bytes."""

    KEEP_EXISTING = "keep_existing"
    REPLACE = "replace"


class ClientCertificates(StrEnum):
    """Whether TLS peers have to show a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class LogLevel(StrEnum):
    """Least severe level that is written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Section(BaseModel):
    """A part of the document; unknown fields are an error, so that a typing mistake is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsConfig(Section):
    """DICOM TLS (PS3.15 B.9, BCP 195); files are read again when they change."""

    enabled: bool = Field(default=False, description="speak TLS on the DICOM port")
    certificate_file: str = Field(default="", description="PEM certificate chain")
    key_file: str = Field(default="", description="PEM private key")
    client_ca_file: str = Field(default="", description="PEM authorities that sign peers")
    client_certificates: ClientCertificates = ClientCertificates.NONE


class NetworkConfig(Section):
    """Where and how associations are accepted."""

    ae_title: OwnAeTitle = Field(default="DRAW_SCP", description="our AE title, upper case")
    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104 - the reference's default
    port: int = Field(default=11112, ge=1, le=65535, description="TCP port to listen on")
    max_associations: int = Field(default=10, ge=1, le=100)
    max_pdu_bytes: int = Field(default=16384, ge=4096, le=131072)
    network_timeout_seconds: TimeoutSeconds = 30
    acse_timeout_seconds: TimeoutSeconds = 30
    dimse_timeout_seconds: TimeoutSeconds = 30
    max_connections: int = Field(
        default=300, ge=10, le=4096, description="open sockets, associated or not"
    )
    max_connections_per_address: int = Field(default=250, ge=1, le=4096)
    trusted_proxies: tuple[IpNetwork, ...] = Field(
        default=(), description="peers that must send a PROXY protocol v2 header"
    )
    tls: TlsConfig = TlsConfig()


class StorageConfig(Section):
    """Where objects go and how long they stay."""

    structure: StorageStructure = StorageStructure.SERIES
    naming: FileNaming = FileNaming.SOP_UID
    max_storage_gb: int = Field(default=100, ge=1, le=10000)
    min_free_percent: int = Field(
        default=2, ge=0, le=50, description="refuse objects when the disk has less free"
    )
    max_object_bytes: int = Field(default=8 * 1024**3, ge=1024**2, le=64 * 1024**3)
    duplicates: DuplicatePolicy = DuplicatePolicy.KEEP_EXISTING
    clean_up: bool = False
    retention_days: int = Field(default=30, ge=1, le=3650)


class SecurityConfig(Section):
    """Who may associate; allowed AE titles themselves are rows of `allowed_ae_titles`."""

    check_called_ae: bool = Field(default=False, description="refuse calls to another AE title")
    validate_calling_ae: bool = Field(default=False, description="only allowed AE titles")
    allowed_ips: tuple[IpNetwork, ...] = Field(default=(), description="empty allows all")
    accept_user_identity: bool = Field(
        default=True, description="ignore user identity rather than refuse the association"
    )


class SopClassConfig(Section):
    """Which storage SOP classes are accepted (PS3.4 B.5)."""

    ct_image: bool = True
    mr_image: bool = True
    rt_structure_set: bool = True
    rt_plan: bool = True
    rt_dose: bool = True
    secondary_capture: bool = True
    all_storage_classes: bool = False
    further: tuple[Uid, ...] = ()


class TransferSyntaxConfig(Section):
    """Which transfer syntaxes are accepted for storage (PS3.5 10)."""

    implicit_vr_little_endian: bool = True
    explicit_vr_little_endian: bool = True
    explicit_vr_big_endian: bool = False
    jpeg_baseline: bool = True
    jpeg_lossless: bool = True
    jpeg_2000_lossless: bool = False
    rle_lossless: bool = False
    all_transfer_syntaxes: bool = False
    further: tuple[Uid, ...] = ()


class ServiceConfig(Section):
    """Which DIMSE services are offered, and whether the receiver runs at all."""

    enabled: bool = True
    auto_start: bool = True
    c_echo: bool = True
    c_store: bool = True
    c_find: bool = False
    c_move: bool = False
    c_get: bool = False


class QueryRetrieveConfig(Section):
    """How queries and retrieves are answered."""

    max_results: int = Field(default=0, ge=0, description="0 means no limit")
    parallel_sub_associations: int = Field(default=1, ge=1, le=8)
    stable_after_seconds: int = Field(default=60, ge=1, le=3600)


class LoggingConfig(Section):
    """What is written to the log."""

    level: LogLevel = LogLevel.INFO
    connection_attempts: bool = True
    received_files: bool = True
    performance_metrics: bool = True


class HandlerConfig(Section):
    """What happens with a received series (the DICOM handler)."""

    auto_import: bool = False
    copy_to_folder: bool = False
    folder: str = ""
    trigger_processing: bool = False
    celery_task: str = ""
    celery_queue: str = "celery"


class ServerConfig(Section):
    """The whole document; its version is the key of its row in `server_config`."""

    network: NetworkConfig = NetworkConfig()
    storage: StorageConfig = StorageConfig()
    security: SecurityConfig = SecurityConfig()
    sop_classes: SopClassConfig = SopClassConfig()
    transfer_syntaxes: TransferSyntaxConfig = TransferSyntaxConfig()
    services: ServiceConfig = ServiceConfig()
    query_retrieve: QueryRetrieveConfig = QueryRetrieveConfig()
    logging: LoggingConfig = LoggingConfig()
    handler: HandlerConfig = HandlerConfig()


REFERENCE: Final = ServerConfig()
"""What a fresh database starts with."""

EVERYTHING: Final = ServerConfig(
    sop_classes=SopClassConfig(all_storage_classes=True),
    transfer_syntaxes=TransferSyntaxConfig(
        explicit_vr_big_endian=True,
        jpeg_2000_lossless=True,
        rle_lossless=True,
        all_transfer_syntaxes=True,
    ),
    services=ServiceConfig(c_find=True, c_move=True, c_get=True),
)
"""What `make run` and Compose start with: all services, classes and transfer syntaxes."""
