"""How destinations do, and what the rules name, in PostgreSQL."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.suite_observation import DELIVERIES
from draw_api.models.destinations import DestinationMode
from draw_api.ports.destinations import (
    DestinationHealth,
    DestinationQueue,
    DestinationRepository,
    NamedByRules,
)

HEALTH: Final = text(
    """
    SELECT name, mode, mode_since, mode_by, failures, failing_since, last_success_at, last_error_at,
        last_error, in_force FROM destination_states
    """
)
DELIVERED_LAST_HOUR: Final = text(
    """
    SELECT destination, count(*) AS number FROM deliveries
    WHERE finished_at > now() - interval '1 hour' AND state = 'delivered' GROUP BY 1
    """
)
LAST_DELIVERED: Final = text(
    """
    SELECT k.name, (SELECT d.finished_at FROM deliveries d
        WHERE d.destination = k.name AND d.state = 'delivered' ORDER BY d.id DESC LIMIT 1) AS at
    FROM unnest(CAST(:names AS text[])) AS k (name)
    """
)
ADDRESSES: Final = text(
    "SELECT name, ae_title || '@' || host || ':' || port AS address FROM remote_nodes"
)
# What was decided until then is still sent while a destination drains.
SET_MODE: Final = text(
    """
    INSERT INTO destination_states (name, mode, mode_since, mode_by)
    VALUES (:name, :mode, now(), :by)
    ON CONFLICT (name) DO UPDATE SET mode = EXCLUDED.mode, mode_since = EXCLUDED.mode_since,
        mode_by = EXCLUDED.mode_by
    WHERE destination_states.mode <> EXCLUDED.mode
    """
)
NODES: Final = text(
    "SELECT name FROM remote_nodes WHERE name = ANY(CAST(:names AS text[])) FOR SHARE"
)
WEBHOOKS: Final = text("SELECT id FROM webhooks WHERE id = ANY(CAST(:ids AS bigint[])) FOR SHARE")


class PostgresDestinationRepository(DestinationRepository, NamedByRules):
    """The table `destination_states`, deliveries by destination, nodes and webhooks."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def health(self) -> Mapping[str, DestinationHealth]:
        rows = self._connection.execute(HEALTH).mappings()
        return {
            row["name"]: DestinationHealth(**{k: v for k, v in row.items() if k != "name"})
            for row in rows
        }

    @override
    def queues(self) -> Mapping[str, Sequence[DestinationQueue]]:
        found: dict[str, list[DestinationQueue]] = defaultdict(list)
        for row in self._connection.execute(DELIVERIES):
            queue = DestinationQueue(row.state, row.number, row.oldest_seconds)
            found[row.destination].append(queue)
        return found

    @override
    def delivered_last_hour(self) -> Mapping[str, int]:
        rows = self._connection.execute(DELIVERED_LAST_HOUR)
        return {row.destination: row.number for row in rows}

    @override
    def last_delivered(self, names: Collection[str]) -> Mapping[str, datetime | None]:
        rows = self._connection.execute(LAST_DELIVERED, {"names": sorted(names)})
        return {row.name: row.at for row in rows}

    @override
    def node_addresses(self) -> Mapping[str, str]:
        return {row.name: row.address for row in self._connection.execute(ADDRESSES)}

    @override
    def set_mode(self, name: str, mode: DestinationMode, by: str) -> None:
        self._connection.execute(SET_MODE, {"name": name, "mode": mode, "by": by})

    @override
    def nodes(self, names: Collection[str]) -> Collection[str]:
        return set(self._connection.execute(NODES, {"names": sorted(names)}).scalars())

    @override
    def webhooks(self, ids: Collection[int]) -> Collection[int]:
        return set(self._connection.execute(WEBHOOKS, {"ids": sorted(ids)}).scalars())
