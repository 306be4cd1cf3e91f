"""Reads the state of the whole suite from the database at intervals, for the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
UNFINISHED: Final = tuple(state for state in JOB_STATES if state not in FINISHED)


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
            )
