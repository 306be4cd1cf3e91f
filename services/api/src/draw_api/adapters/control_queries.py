"""Stores the desired state of services in PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.control import Control
from draw_api.ports.control import ControlRepository

CONTROLS: Final = text(
    "SELECT service, replica, desired_state, restart_generation, updated_at, updated_by"
    " FROM service_controls"
)
PUT: Final = text(
    """
    INSERT INTO service_controls (service, replica, desired_state, restart_generation, updated_by)
    VALUES (:service, :replica, :wanted, :restarts, :by)
    ON CONFLICT (service, replica) DO UPDATE SET desired_state = EXCLUDED.desired_state,
        restart_generation = service_controls.restart_generation + EXCLUDED.restart_generation,
        updated_at = clock_timestamp(), updated_by = EXCLUDED.updated_by
    """
)
# An order to all replicas also replaces the orders to single ones.
FOLLOW: Final = text(
    "UPDATE service_controls SET desired_state = :wanted WHERE service = :service AND replica <> ''"
)


class PostgresControlRepository(ControlRepository):
    """The table `service_controls`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def controls(self) -> Sequence[Control]:
        return [Control(**row) for row in self._connection.execute(CONTROLS).mappings()]

    @override
    def put(self, service: str, replica: str, wanted: str, by: str, *, restart: bool) -> None:
        values = {"service": str(service), "wanted": wanted}
        self._connection.execute(
            PUT, values | {"replica": replica, "by": by, "restarts": int(restart)}
        )
        if not replica:
            self._connection.execute(FOLLOW, values)
