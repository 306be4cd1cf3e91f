"""Migrates the database and gives a new one the configuration with everything on."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from draw_shared.contracts.server_config import EVERYTHING, NetworkConfig, ServerConfig
from draw_shared.db.migrate import seed_config, upgrade
from draw_shared.db.session import Database


@dataclass(frozen=True, slots=True)
class DicomAddress:
    """Where associations are accepted."""

    ae_title: str
    host: str
    port: int


def first_configuration(given: Mapping[str, str]) -> ServerConfig:
    """Return the document of a new suite: everything on, where the environment says.

    Raises:
        ValueError: a variable's value is not allowed.
    """
    names = {
        "host": "DRAW_SCP_HOST",
        "port": "DRAW_SCP_PORT",
        "ae_title": "DRAW_SCP_AE_TITLE",
    }
    told = {field: given[name] for field, name in names.items() if given.get(name)}
    return EVERYTHING.model_copy(update={"network": NetworkConfig.model_validate(told)})


def prepare(url: str, given: Mapping[str, str]) -> DicomAddress:
    """Bring the database up to date and return where the receiver will listen."""
    upgrade(url)
    database = Database(url)
    try:
        with database.session() as session:
            seed_config(session, first_configuration(given))
            network = _network(session)
            session.commit()
    finally:
        database.dispose()
    port = given.get("DRAW_SCP_PORT")
    return DicomAddress(network.ae_title, network.host, int(port) if port else network.port)


def _network(session: Session) -> NetworkConfig:
    newest = text("SELECT document FROM server_config ORDER BY version DESC LIMIT 1")
    document = session.connection().execute(newest).scalar_one()
    return ServerConfig.model_validate(document).network
