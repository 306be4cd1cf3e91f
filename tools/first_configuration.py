"""Migrates the database and writes the first configuration, with everything enabled.

The environment may set the receiver's addresses. They are written into the document, even over an
operator's earlier choice, and not passed to the receiver itself. From then on the document
decides, so that an operator can change the addresses while the suite runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

from draw_shared.contracts.config_reading import read_config
from draw_shared.contracts.network_variables import network_settings
from draw_shared.contracts.server_config import (
    EVERYTHING,
    ListeningPort,
    NetworkConfig,
    ServerConfig,
)
from draw_shared.db import config_versions
from draw_shared.db.migrate import bring_up_to_date, seed_config
from draw_shared.db.session import Database
from draw_shared.storage.config_file import ConfigFile

NEWEST: Final = text("SELECT version, document FROM server_config ORDER BY version DESC LIMIT 1")
ADD: Final = text(
    "INSERT INTO server_config (version, document, created_by, comment)"
    " VALUES (:version, CAST(:document AS jsonb), 'system', 'as the environment says')"
)


@dataclass(frozen=True, slots=True)
class DicomAddress:
    """Where associations are accepted."""

    ae_title: str
    host: str
    port: int
    ports: tuple[ListeningPort, ...]
    """All ports, including a separate one for TLS; `port` need not be among them."""


def first_configuration(given: Mapping[str, str]) -> ServerConfig:
    """Return the document of a new suite: everything enabled, at the environment's addresses.

    Raises:
        ValueError: a variable has an invalid value.
    """
    return EVERYTHING.model_copy(
        update={"network": NetworkConfig.model_validate(network_settings(given))}
    )


def prepare(
    url: str,
    given: Mapping[str, str],
    storage: Path,
    *,
    admin_url: str = "",
    service_urls: Mapping[str, str] | None = None,
) -> DicomAddress:
    """Migrate the database and return the address on which the receiver will listen.

    A database older than the configuration on the storage volume gets that configuration.

    Args:
        url: URL of the role that owns the tables.
        given: the environment.
        storage: folder of the storage volume.
        admin_url: URL of a role that may create the services' roles, if they are to be created.
        service_urls: URL of each service; if empty, all services connect as the owner.
    """
    bring_up_to_date(url, admin_url=admin_url, service_urls=service_urls)
    database = Database(url)
    try:
        with database.session() as session:
            seed_config(session, first_configuration(given))
            _catch_up(session, ConfigFile(storage, "launcher"))
            network = _where_told(session, network_settings(given))
            session.commit()
    finally:
        database.dispose()
    return DicomAddress(network.ae_title, network.host, network.port, network.ports)


def _catch_up(session: Session, file: ConfigFile) -> None:
    held = config_versions.newest(session)
    found = held.version if held is not None else 0
    kept = file.newest()
    if kept is not None and kept.version > found:
        config_versions.catch_up(session, kept, found)


def _where_told(session: Session, told: Mapping[str, str | int]) -> NetworkConfig:
    """Write the environment's addresses into the newest document and return its network part."""
    version, document = session.connection().execute(NEWEST).one()
    server = read_config(document).config
    network = NetworkConfig.model_validate({**server.network.model_dump(), **told})
    if network != server.network:
        changed = server.model_copy(update={"network": network})
        values = {"version": version + 1, "document": changed.model_dump_json()}
        session.connection().execute(ADD, values)
    return network
