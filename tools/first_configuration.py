"""Migrates the database and gives a new one the configuration with everything on.

Where the receiver listens may be said in the environment. That is written into the document,
also over what an operator chose before, and not told to the receiver itself: from then on the
document decides, so that an operator can change it while the suite runs.
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
    """All of them, be `port` one or not: TLS may have one of its own."""


def first_configuration(given: Mapping[str, str]) -> ServerConfig:
    """Return the document of a new suite: everything on, where the environment says.

    Raises:
        ValueError: a variable's value is not allowed.
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
    """Bring the database up to date and return where the receiver will listen.

    A database that is older than what the storage volume keeps of the configuration gets that.

    Args:
        url: of the role that owns the tables.
        given: what the environment says.
        storage: folder of the storage volume.
        admin_url: of somebody who may make the services' roles, if they are to be made.
        service_urls: by service, as it connects; none: they all connect as the owner.
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
    """Return where the newest document says to listen, after it says what the environment does."""
    version, document = session.connection().execute(NEWEST).one()
    server = read_config(document).config
    network = NetworkConfig.model_validate({**server.network.model_dump(), **told})
    if network != server.network:
        changed = server.model_copy(update={"network": network})
        values = {"version": version + 1, "document": changed.model_dump_json()}
        session.connection().execute(ADD, values)
    return network
