"""States of replicas in `service_replicas`, and the timeout after which a replica is gone."""

from typing import Final

ENDED: Final = "ended"
"""The last state of a process that ended on request; a `stopped` one is alive and waits."""
REPLICA_TIMEOUT_SECONDS: Final = 10.0
"""A replica with an older heartbeat is shown as gone; heartbeats come every two seconds."""
