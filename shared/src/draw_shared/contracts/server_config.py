"""The receiver's configuration: one versioned document with every setting, default and range."""

from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from draw_shared.addresses import network_of
from draw_shared.contracts.identifiers import OwnAeTitle, Uid
from draw_shared.contracts.texts import LINE

BYTES_PER_GB: Final = 1000**3
"""Bytes in a GB (ISO 80000-13), for the quota and for displayed sizes."""

MAX_STORAGE_GB: Final = 9_000_000_000
"""Nine exabytes, close to the largest signed 64-bit number of bytes."""

TimeoutSeconds = Annotated[StrictInt, Field(ge=5, le=300)]


REBINDS: Final[dict[str, Any]] = {"rebinds": True}
"""Marks a field whose change reopens the DICOM port; all others apply while it stays open."""


def _checked_network(value: str) -> str:
    return str(network_of(value))


FilePath = Annotated[str, Field(max_length=500), LINE]
Name = Annotated[str, Field(max_length=200), LINE]

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
    """How the file of a new object is named."""

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

    enabled: StrictBool = Field(default=False, description="speak TLS", json_schema_extra=REBINDS)
    port: StrictInt = Field(
        default=2762,
        ge=0,
        le=65535,
        description="TCP port for TLS; 0: the DICOM port itself, which then speaks nothing else",
        json_schema_extra=REBINDS,
    )
    keep_plain_port: StrictBool = Field(
        default=True,
        description="the DICOM port stays open without TLS beside it; off: TLS alone",
        json_schema_extra=REBINDS,
    )
    certificate_file: FilePath = Field(
        default="",
        description="PEM certificate chain, as the receiver sees the path",
        json_schema_extra=REBINDS,
    )
    key_file: FilePath = Field(default="", description="PEM private key", json_schema_extra=REBINDS)
    client_ca_file: FilePath = Field(
        default="", description="PEM authorities that sign peers", json_schema_extra=REBINDS
    )
    client_certificates: ClientCertificates = Field(
        default=ClientCertificates.NONE,
        description="whether peers have to show a certificate of their own",
        json_schema_extra=REBINDS,
    )


class ListeningPort(NamedTuple):
    """A port on which associations are accepted."""

    port: int
    tls: bool


class NetworkConfig(Section):
    """Where and how associations are accepted."""

    ae_title: OwnAeTitle = Field(default="DRAW_SCP", description="our AE title, upper case")
    host: Name = Field(
        default="0.0.0.0",  # noqa: S104 - the reference's default
        description="address to listen on",
        json_schema_extra=REBINDS,
    )
    port: StrictInt = Field(
        default=11112,
        ge=1,
        le=65535,
        description="TCP port to listen on",
        json_schema_extra=REBINDS,
    )
    max_associations: StrictInt = Field(
        default=10,
        ge=1,
        le=100,
        description="associations at the same time, per replica, of which one peer may have all;"
        " a request waits 3 s for its place",
    )
    max_associations_per_address: StrictInt = Field(
        default=0,
        ge=0,
        le=100,
        description="of them for one address, at most; 0: no limit of its own",
    )
    max_associations_per_ae_title: StrictInt = Field(
        default=0,
        ge=0,
        le=100,
        description="of them for one calling AE title, at most; 0: no limit of its own",
    )
    reserved_associations: StrictInt = Field(
        default=6,
        ge=0,
        le=50,
        description="further ones, and connections, for peers with fewer than are left of them:"
        " a third for any AE title, a third for other addresses, a third for allowed AE titles",
    )
    max_pdu_bytes: StrictInt = Field(
        default=16384, ge=4096, le=131072, description="largest PDU that peers may send"
    )
    network_timeout_seconds: TimeoutSeconds = Field(
        default=30, description="longest silence on an association"
    )
    acse_timeout_seconds: TimeoutSeconds = Field(
        default=30, description="longest wait for an association to be set up or released"
    )
    dimse_timeout_seconds: TimeoutSeconds = Field(
        default=30, description="longest wait for the rest of a message"
    )
    max_connections: StrictInt = Field(
        default=300,
        ge=10,
        le=4096,
        description="open sockets, associated or not; at the limit, the oldest without a request"
        " for an association gives way, of the address that has most",
    )
    max_connections_per_address: StrictInt = Field(
        default=250, ge=1, le=4096, description="open sockets of one address, likewise"
    )
    trusted_proxies: tuple[IpNetwork, ...] = Field(
        default=(), description="peers that must send a PROXY protocol v2 header"
    )
    tls: TlsConfig = TlsConfig()

    @property
    def ports(self) -> tuple[ListeningPort, ...]:
        """Where associations are accepted, the port without TLS first."""
        plain, tls = ListeningPort(self.port, tls=False), self.tls
        if not tls.enabled:
            return (plain,)
        if not tls.port:
            return (ListeningPort(self.port, tls=True),)
        secured = ListeningPort(tls.port, tls=True)
        return (plain, secured) if tls.keep_plain_port else (secured,)


class StorageConfig(Section):
    """Where objects go and how long they stay."""

    structure: StorageStructure = Field(
        default=StorageStructure.SERIES,
        description="folders of new objects: flat, by PatientID, by study,"
        " by patient/study/series, or by date of reception",
    )
    naming: FileNaming = Field(
        default=FileNaming.SOP_UID, description="how the files of new objects are called"
    )
    max_storage_gb: StrictInt = Field(
        default=100,
        ge=0,
        le=MAX_STORAGE_GB,
        description="quota; above it objects are refused; 0: no quota, the disk is the limit",
    )
    min_free_percent: StrictInt = Field(
        default=2, ge=0, le=50, description="refuse objects when the disk has less free"
    )
    max_object_bytes: StrictInt = Field(
        default=8 * 1024**3,
        ge=1024**2,
        le=64 * 1024**3,
        description="larger objects are refused",
    )
    duplicates: DuplicatePolicy = Field(
        default=DuplicatePolicy.KEEP_EXISTING,
        description="which object is current when a SOP instance comes again with other bytes",
    )
    clean_up: StrictBool = Field(
        default=False, description="delete studies beyond the retention time"
    )
    retention_days: StrictInt = Field(
        default=30, ge=1, le=3650, description="how long clean-up leaves a study alone"
    )


class SecurityConfig(Section):
    """Who may associate; the list of AE titles, with their rights, is in `allowed_ae_titles`."""

    check_called_ae: StrictBool = Field(
        default=False, description="refuse calls to another AE title"
    )
    validate_calling_ae: StrictBool = Field(
        default=False, description="only AE titles on the list may associate"
    )
    unknown_may_echo: StrictBool = Field(
        default=True,
        description="AE titles that are not on the list may verify the connection (C-ECHO)",
    )
    unknown_may_store: StrictBool = Field(
        default=True,
        description="AE titles that are not on the list may send objects (C-STORE), remote nodes"
        " from which jobs retrieve by C-MOVE too; they may never query and retrieve",
    )
    allowed_ips: tuple[IpNetwork, ...] = Field(default=(), description="empty allows all")
    accept_user_identity: StrictBool = Field(
        default=True, description="ignore user identity rather than refuse the association"
    )


class SopClassConfig(Section):
    """Which storage SOP classes are accepted (PS3.4 B.5)."""

    ct_image: StrictBool = Field(default=True, description="CT and Enhanced CT Image Storage")
    mr_image: StrictBool = Field(default=True, description="MR and Enhanced MR Image Storage")
    rt_structure_set: StrictBool = Field(default=True, description="RT Structure Set Storage")
    rt_plan: StrictBool = Field(default=True, description="RT Plan Storage")
    rt_dose: StrictBool = Field(default=True, description="RT Dose Storage")
    secondary_capture: StrictBool = Field(
        default=True, description="Secondary Capture Image Storage"
    )
    all_storage_classes: StrictBool = Field(
        default=False, description="every storage SOP class of the standard, retired ones too"
    )
    promiscuous: StrictBool = Field(
        default=False,
        description="any SOP class that is proposed, unknown and private ones too; not those of"
        " other services of the standard",
    )
    further: tuple[Uid, ...] = Field(
        default=(), max_length=500, description="more SOP classes by UID, private ones too"
    )


class TransferSyntaxConfig(Section):
    """Which transfer syntaxes are accepted for storage (PS3.5 10)."""

    implicit_vr_little_endian: StrictBool = Field(
        default=True, description="Implicit VR Little Endian, the default of DICOM"
    )
    explicit_vr_little_endian: StrictBool = Field(
        default=True, description="Explicit VR Little Endian"
    )
    explicit_vr_big_endian: StrictBool = Field(
        default=False, description="Explicit VR Big Endian (retired)"
    )
    jpeg_baseline: StrictBool = Field(default=True, description="JPEG Baseline (process 1)")
    jpeg_lossless: StrictBool = Field(
        default=True, description="JPEG Lossless, first-order prediction"
    )
    jpeg_2000_lossless: StrictBool = Field(default=False, description="JPEG 2000, lossless only")
    rle_lossless: StrictBool = Field(default=False, description="RLE Lossless")
    all_transfer_syntaxes: StrictBool = Field(
        default=False, description="every transfer syntax of the standard"
    )
    further: tuple[Uid, ...] = Field(
        default=(), max_length=500, description="more transfer syntaxes by UID, private ones too"
    )


class ServiceConfig(Section):
    """Which DIMSE services are offered, and whether the receiver runs at all."""

    enabled: StrictBool = Field(
        default=True, description="off closes the DICOM port of every replica"
    )
    auto_start: StrictBool = Field(
        default=True, description="a starting receiver listens at once; off: when told to start"
    )
    c_echo: StrictBool = Field(default=True, description="answer C-ECHO (verification)")
    c_store: StrictBool = Field(default=True, description="receive objects")
    c_find: StrictBool = Field(default=False, description="answer queries")
    c_move: StrictBool = Field(default=False, description="send objects to a known destination")
    c_get: StrictBool = Field(default=False, description="send objects to the one who asks")


class QueryRetrieveConfig(Section):
    """How queries and retrieves are answered."""

    max_results: StrictInt = Field(default=0, ge=0, le=10_000_000, description="0 means no limit")
    parallel_sub_associations: StrictInt = Field(
        default=1, ge=1, le=8, description="associations that one C-MOVE sends over"
    )
    stable_after_seconds: StrictInt = Field(
        default=60,
        ge=1,
        le=3600,
        description="quiet time after which a series is complete that came over an association"
        " which did not end properly, or which is still open",
    )
    settle_time_seconds: StrictInt = Field(
        default=2,
        ge=0,
        le=3600,
        description="time from the end of the associations that brought a series until it is"
        " complete; a listed AE title may have its own",
    )


class LoggingConfig(Section):
    """What is written to the log."""

    level: LogLevel = Field(default=LogLevel.INFO, description="least severe level that is written")
    connection_attempts: StrictBool = Field(
        default=True, description="a line for each association that ended or was rejected"
    )
    received_files: StrictBool = Field(
        default=True, description="at level DEBUG, a line for each received object"
    )
    performance_metrics: StrictBool = Field(
        default=True, description="duration and rate on the lines of associations and objects"
    )
    transaction_retention_months: StrictInt = Field(
        default=24,
        ge=1,
        le=240,
        description="whole months of the transaction log that are kept before the current one",
    )


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


REFERENCE: Final = ServerConfig()
"""The configuration of a new database."""

CLOSED: Final = ServerConfig(
    security=SecurityConfig(
        check_called_ae=True,
        validate_calling_ae=True,
        unknown_may_echo=False,
        unknown_may_store=False,
    ),
    services=ServiceConfig(enabled=False, auto_start=False, c_echo=False, c_store=False),
)
"""In force until the suite's configuration is known: nobody is served."""

EVERYTHING: Final = ServerConfig(
    sop_classes=SopClassConfig(all_storage_classes=True, promiscuous=True),
    transfer_syntaxes=TransferSyntaxConfig(
        explicit_vr_big_endian=True,
        jpeg_2000_lossless=True,
        rle_lossless=True,
        all_transfer_syntaxes=True,
    ),
    services=ServiceConfig(c_find=True, c_move=True, c_get=True),
)
"""The first version of `make run` and Compose: all services, any class, all transfer syntaxes."""
