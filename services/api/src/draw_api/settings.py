"""Settings of the API."""

from typing import ClassVar

from pydantic import Field, SecretStr

from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    StorageSettings,
)


class Settings(ServiceSettings, PostgresSettings, BrokerSettings, StorageSettings):
    """What this process is told by its environment."""

    service: ClassVar[str] = "api"

    api_host: str = Field(default="127.0.0.1", description="address to listen on")
    api_port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 picks a free one")
    api_trusted_proxies: str = Field(
        default="",
        description="addresses, separated by commas, whose X-Forwarded-For and -Proto are believed",
    )
    api_session_hours: float = Field(
        default=12.0, gt=0, le=24 * 30, description="how long a browser stays signed in, hours"
    )
    api_query_hours: float = Field(
        default=24.0, gt=0, le=24 * 90, description="how long results of queries are kept, hours"
    )
    admin_password: SecretStr | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="password of the user `admin` that is created when there is no user yet",
    )
