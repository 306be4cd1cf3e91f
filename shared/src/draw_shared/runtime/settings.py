"""Settings: environment variables that begin with DRAW_, or files named by DRAW_..._FILE.

A service composes its `Settings` from these groups and reads them once, in `__main__`. An unknown
variable with the service's own prefix is an error, so that a typing mistake in a deployment shows
at the start and not in production.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from draw_shared.db.seals import Keyring
from draw_shared.storage.layout import SEALED_HEAD

PREFIX = "DRAW_"


class SecretFiles(PydanticBaseSettingsSource):
    """Reads a field from the file that `<variable>_FILE` names, as with container secrets."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = variable_name(field, field_name)
        path = os.environ.get(f"{name}_FILE")
        value = Path(path).read_text(encoding="utf-8").strip() if path else None
        return value, field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[variable_key(field, key)] = value
        return found


def variable_key(field: FieldInfo, field_name: str) -> str:
    """Return the key under which a source returns the value of this field."""
    return field.validation_alias if isinstance(field.validation_alias, str) else field_name


def variable_name(field: FieldInfo, field_name: str) -> str:
    """Return the environment variable of a field."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field_name.upper()}"


class SettingsGroup(BaseSettings):
    """Settings that belong together; services inherit the groups they need."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        # An invalid secret must not appear in the log.
        hide_input_in_errors=True,
    )


class ServiceSettings(SettingsGroup):
    """What every service needs."""

    service: ClassVar[str]
    """The service's name, as in `service_replicas.service` and in logs."""

    replica: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="name of this process, unique among all; default <host>-<service>",
    )
    log_level: str = Field(
        default="INFO", description="least severe level logged before the configuration is read"
    )
    log_file: Path | None = Field(
        default=None,
        description="file that standard output goes to, rotated while the service runs; default:"
        " standard output stays what it is",
    )
    log_file_bytes: int = Field(
        default=10 * 2**20, ge=4096, description="size at which the log file is set aside"
    )
    log_files_kept: int = Field(
        default=4, ge=1, le=100, description="log files set aside, as <file>.1 and so on"
    )
    stop_seconds: float = Field(
        default=25.0, gt=0, description="grace period after SIGTERM, seconds"
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretFiles(settings_cls), env_settings

    @model_validator(mode="after")
    def _named_replica(self) -> Self:
        if not self.replica:
            host = "".join(c if c.isalnum() or c in "._-" else "-" for c in socket.gethostname())
            object.__setattr__(self, "replica", f"{host[:40]}-{self.service}")
        return self

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings of this process.

        Raises:
            ValueError: a value is missing, out of range, or a variable with this service's
                prefix is unknown; the text names the variable.
        """
        environment = os.environ if environment is None else environment
        own = f"{PREFIX}{cls.service.upper().replace('-', '_')}_"
        known = {variable_name(f, n) for n, f in cls.model_fields.items()}
        known |= {f"{name}_FILE" for name in known}
        unknown = sorted(n for n in environment if n.startswith(own) and n not in known)
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        return cls()


class PostgresSettings(SettingsGroup):
    """How to reach PostgreSQL."""

    database_url: SecretStr = Field(
        description="postgresql://user:password@host:port/database", repr=False
    )


class BrokerSettings(SettingsGroup):
    """How to reach RabbitMQ."""

    broker_url: SecretStr = Field(
        description="amqp://user:password@host:port/vhost (amqps for TLS)", repr=False
    )


class StorageSettings(SettingsGroup):
    """Where objects are."""

    storage_root: Path = Field(
        description="folder of the storage volume; holds objects/, spool/ and conflicts/"
    )


class TransactionLogSettings(StorageSettings):
    """Protects the transaction log from writers of the database."""

    transaction_keys: SecretStr | None = Field(
        default=None,
        repr=False,
        description="keys of the transaction log, one in each line, at least 32 characters: the"
        " first seals it, the others check what it sealed before; default: it is not sealed",
    )
    sealed_head_file: Path | None = Field(
        default=None,
        description="file outside the database that keeps the newest sealed line of the"
        " transaction log; default: sealed-head.json on the storage volume",
    )

    @model_validator(mode="after")
    def _readable_keys(self) -> Self:
        try:
            self.keyring()
        except ValueError as error:
            raise ValueError(f"DRAW_TRANSACTION_KEYS: {error}") from None
        return self

    def keyring(self) -> Keyring | None:
        """Return the keys of the transaction log; None disables sealing."""
        given = self.transaction_keys
        return None if given is None else Keyring.read(given.get_secret_value())

    def sealed_head(self) -> Path:
        """Return the path of the file with the newest sealed line."""
        return self.sealed_head_file or self.storage_root / SEALED_HEAD


class TranscodingSettings(SettingsGroup):
    """Limits for sending in other transfer syntaxes."""

    transcoding_max_frame_bytes: int = Field(
        default=128 * 2**20,
        ge=2**20,
        description="largest decoded frame of encapsulated pixel data; an object with larger ones"
        " is sent as it is stored or not at all",
    )
    transcoding_max_inflated_bytes: int = Field(
        default=2**30,
        ge=2**20,
        description="longest deflated data set when it is inflated; an object with a longer one is"
        " sent as it is stored or not at all",
    )
