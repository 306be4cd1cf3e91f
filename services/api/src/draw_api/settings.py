"""Settings of the API."""

from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from draw_shared.addresses import networks_of
from draw_shared.contracts.texts import NewPassword
from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    SettingsGroup,
    TransactionLogSettings,
)

OWN_URL: Final = "database URL, with a role of its own, for"
FirstPassword = Annotated[
    NewPassword | None,
    Field(
        repr=False,
        description="password of the user `admin` that is created when there is no user yet;"
        " 10 to 200 characters",
    ),
]


class SingleSignOnSettings(SettingsGroup):
    """How people sign in through an OpenID Connect provider."""

    api_public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s]+)?$",
        description="where browsers reach the page, as https://draw.example.org;"
        " default: as the request says",
    )
    api_oidc_issuer: str = Field(
        default="",
        pattern=r"^(https?://[^\s]+)?$",
        description="issuer of the OpenID Connect provider; empty: local users only",
    )
    api_oidc_name: str = Field(
        default="Hospital account", description="how the provider is called on the page"
    )
    api_oidc_client_id: str = Field(default="draw", description="our name at the provider")
    api_oidc_client_secret: SecretStr | None = Field(
        default=None, min_length=1, repr=False, description="our secret at the provider"
    )
    api_oidc_scopes: str = Field(
        default="openid profile email", description="what the provider is asked for"
    )
    api_oidc_groups_claim: str = Field(
        default="groups", description="claim of the ID token that decides about the role"
    )
    api_oidc_admin_groups: str = Field(
        default="", description="values of the claim, separated by commas, that make an admin"
    )
    api_oidc_operator_groups: str = Field(
        default="", description="values of the claim that make an operator"
    )
    api_oidc_viewer_groups: str = Field(
        default="", description="values of the claim that make a viewer; others may not sign in"
    )

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.api_oidc_issuer and self.api_oidc_client_secret is None:
            raise ValueError("DRAW_API_OIDC_ISSUER needs DRAW_API_OIDC_CLIENT_SECRET")
        return self


class MigrationSettings(ServiceSettings, PostgresSettings):
    """What `draw-admin migrate` reads; the owner's connection to the database is enough."""

    service: ClassVar[str] = "draw-admin"

    database_admin_url: SecretStr | None = Field(
        default=None,
        repr=False,
        description="connection to the database with a role that may create roles: then the owner's"
        " and the services' roles are created; default: they exist",
    )
    scp_database_url: SecretStr | None = Field(
        default=None, repr=False, description=f"{OWN_URL} the receiver"
    )
    indexer_database_url: SecretStr | None = Field(
        default=None, repr=False, description=f"{OWN_URL} the indexer"
    )
    qr_worker_database_url: SecretStr | None = Field(
        default=None, repr=False, description=f"{OWN_URL} the worker"
    )
    dicomweb_database_url: SecretStr | None = Field(
        default=None, repr=False, description=f"{OWN_URL} DICOMweb"
    )
    api_database_url: SecretStr | None = Field(
        default=None, repr=False, description=f"{OWN_URL} the API"
    )
    admin_password: FirstPassword = None

    @property
    def service_urls(self) -> dict[str, str]:
        """The connection of each service to the database, where it is set."""
        told = {
            "scp": self.scp_database_url,
            "indexer": self.indexer_database_url,
            "qr-worker": self.qr_worker_database_url,
            "dicomweb": self.dicomweb_database_url,
            "api": self.api_database_url,
        }
        return {name: url.get_secret_value() for name, url in told.items() if url is not None}


class ApiSettings(
    ServiceSettings,
    PostgresSettings,
    BrokerSettings,
    TransactionLogSettings,
    SingleSignOnSettings,
):
    """Everything the API reads from its environment."""

    service: ClassVar[str] = "api"

    api_host: str = Field(default="127.0.0.1", description="address to listen on")
    api_port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 picks a free one")
    api_trusted_proxies: Annotated[str, AfterValidator(networks_of)] = Field(
        default="",
        description="addresses and networks, separated by commas, whose X-Forwarded-For and -Proto"
        " are believed",
    )
    api_connections_per_address: int = Field(
        default=100,
        ge=4,
        le=800,
        description="most connections of one address, or of one IPv6 /64, to page and REST; the"
        " oldest without a request gives way to a new one; trusted proxies have no limit",
    )
    api_session_hours: float = Field(
        default=12.0, gt=0, le=24 * 30, description="how long a browser stays signed in, hours"
    )
    api_query_hours: float = Field(
        default=24.0, gt=0, le=24 * 90, description="how long results of queries are kept, hours"
    )
    admin_password: FirstPassword = None
