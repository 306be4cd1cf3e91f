"""Reads the state of the whole suite from the database at intervals, for the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import text

from draw_api.models.jobs import FINISHED
from draw_shared.contracts.replicas import ENDED, REPLICA_TIMEOUT_SECONDS
from draw_shared.db.session import Database
from draw_shared.db.tables import JOB_STATES

FORECAST_DAYS: Final = 7
"""The number of days before today that give the rate at which the storage fills."""

# A vanished replica is reported for ten minutes; then it was replaced or is known.
REPLICAS: Final = text(
    f"""
    SELECT service, CASE WHEN heartbeat_at < now() - interval '{REPLICA_TIMEOUT_SECONDS} seconds'
            THEN 'gone' ELSE state END AS state,
        count(*) AS number
    FROM service_replicas
    WHERE state <> '{ENDED}' AND heartbeat_at > now() - interval '10 minutes'
    GROUP BY 1, 2
    """  # noqa: S608 - constants
)
JOBS: Final = text(
    """
    SELECT state, count(*) AS number,
        extract(epoch FROM now() - min(greatest(created_at, not_before)))::float AS oldest_seconds
    FROM jobs WHERE finished_at IS NULL GROUP BY state
    """
)
NODES: Final = text(
    """
    SELECT name, coalesce((circuit ->> 'open_until')::timestamptz > now(), false) AS open
    FROM remote_nodes WHERE active
    """
)
CONFIG: Final = text("SELECT version FROM server_config ORDER BY version DESC LIMIT 1")
RECEIVED_PER_DAY: Final = text(
    "SELECT coalesce(sum(size_bytes), 0)::float / :days FROM reception_days"
    " WHERE day >= (now() AT TIME ZONE 'UTC')::date - :days"
    " AND day < (now() AT TIME ZONE 'UTC')::date"
)
STANDING_QUERIES_FAILING: Final = text(
    """
    SELECT count(*) FROM standing_queries s WHERE s.active AND (
        SELECT count(*) FILTER (WHERE k.state IN ('failed', 'skipped')) FROM (
            SELECT r.state FROM standing_query_runs r
            WHERE r.standing_query_id = s.id AND r.finished_at IS NOT NULL
            ORDER BY r.scheduled_for DESC LIMIT 2) AS k) = 2
    """
)
# By JSON path, which takes whatever a later release may write.
DESTINATIONS: Final = text(
    """
    SELECT d.name, coalesce(s.mode, 'active') AS mode, coalesce(s.failures, 0) AS failures,
        CASE WHEN s.mode <> 'active'
            THEN extract(epoch FROM now() - s.mode_since)::float END AS held_seconds,
        extract(epoch FROM now() - s.last_success_at)::float AS last_success_seconds,
        d.members ->> 0 AS first,
        CASE WHEN d.members @> to_jsonb(s.in_force) THEN s.in_force END AS in_force
    FROM (SELECT o ->> 'name' AS name,
            CASE WHEN o ->> 'mode' = 'failover' THEN o -> 'members' END AS members
        FROM (SELECT document FROM routing_documents ORDER BY version DESC LIMIT 1) AS r
        CROSS JOIN LATERAL jsonb_path_query(r.document, '$.destinations[*]') AS o) AS d
    LEFT JOIN destination_states s ON s.name = d.name
    WHERE d.name IS NOT NULL
    """
)
# What is pending and says why has nobody to take it: a node or webhook that does not exist.
DELIVERIES: Final = text(
    """
    SELECT destination, state, count(*) AS number,
        extract(epoch FROM now() - min(created_at))::float AS oldest_seconds,
        extract(epoch FROM now() - min(created_at) FILTER (
            WHERE failures > 0 OR state = 'pending' AND error <> ''))::float AS in_vain_seconds
    FROM deliveries WHERE finished_at IS NULL GROUP BY 1, 2
    """
)
OPEN_DELIVERIES: Final = ("pending", "running", "waiting")
UNFINISHED: Final = tuple(state for state in JOB_STATES if state not in FINISHED)


@dataclass(frozen=True, slots=True)
class ObservedDestination:
    """One destination of rules at one moment."""

    deliveries: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(OPEN_DELIVERIES, 0))
    """The number of deliveries that are not over, by state."""
    oldest_seconds: float = 0.0
    in_vain_seconds: float = 0.0
    """The age of the oldest one that was tried in vain, or that nobody can take."""
    mode: str = "active"
    held_seconds: float = 0.0
    """How long it has been paused or draining."""
    failures: int = 0
    last_success_seconds: float | None = None
    """How long ago something arrived there; None: never yet, or a group."""
    first: str | None = None
    """The first member of a group with failover."""
    in_force: str | None = None
    """The member of such a group that gets what comes."""


@dataclass(frozen=True, slots=True)
class SuiteState:
    """The suite at one moment."""

    replicas: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The number of replicas by service and state."""
    jobs: Mapping[str, int] = field(default_factory=dict)
    """The number of unfinished jobs by state."""
    oldest_job_seconds: Mapping[str, float] = field(default_factory=dict)
    circuits: Mapping[str, bool] = field(default_factory=dict)
    """Whether the circuit of a node is open, by the node's name."""
    config_version: int = 0
    received_bytes_per_day: float = 0.0
    standing_queries_failing: int = 0
    destinations: Mapping[str, ObservedDestination] = field(default_factory=dict)
    """The destinations of rules by name; also those that are gone and have deliveries."""


class SuiteObservation:
    """Keeps the last observed state; None while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: SuiteState | None = None

    @property
    def seen(self) -> SuiteState | None:
        """The suite as last observed, or None when the last observation failed."""
        return self._seen

    def look(self) -> None:
        """Observe the suite.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        try:
            self._seen = self._observe()
        except BaseException:
            self._seen = None
            raise

    def _observe(self) -> SuiteState:
        with self._database.session() as session:
            connection = session.connection()

            def rows(statement: Any, **values: Any) -> list[Any]:  # noqa: ANN401 - rows have no common type
                return list(connection.execute(statement, values))

            jobs = rows(JOBS)
            config = connection.execute(CONFIG).one_or_none()
            return SuiteState(
                replicas={(row.service, row.state): row.number for row in rows(REPLICAS)},
                jobs=dict.fromkeys(UNFINISHED, 0) | {row.state: row.number for row in jobs},
                oldest_job_seconds={row.state: max(0.0, row.oldest_seconds) for row in jobs},
                circuits={row.name: row.open for row in rows(NODES)},
                config_version=config.version if config else 0,
                received_bytes_per_day=connection.execute(
                    RECEIVED_PER_DAY, {"days": FORECAST_DAYS}
                ).scalar_one(),
                standing_queries_failing=connection.execute(STANDING_QUERIES_FAILING).scalar_one(),
                destinations=_destinations(rows(DESTINATIONS), rows(DELIVERIES)),
            )


def _destinations(defined: Sequence[Any], waiting: Sequence[Any]) -> dict[str, ObservedDestination]:
    found = {
        row.name: ObservedDestination(
            mode=row.mode,
            held_seconds=row.held_seconds or 0.0,
            failures=row.failures,
            last_success_seconds=row.last_success_seconds,
            first=row.first,
            in_force=row.in_force,
        )
        for row in defined
    }
    for row in waiting:
        known = found.get(row.destination, ObservedDestination())
        found[row.destination] = replace(
            known,
            deliveries={**known.deliveries, row.state: row.number},
            oldest_seconds=max(known.oldest_seconds, row.oldest_seconds),
            in_vain_seconds=max(known.in_vain_seconds, row.in_vain_seconds or 0.0),
        )
    return found
