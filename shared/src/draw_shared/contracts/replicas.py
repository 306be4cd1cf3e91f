"""What replicas say of themselves in `service_replicas`, and when they are taken for gone."""

from typing import Final

ENDED: Final = "ended"
"""The last word of a process that was told to end; `stopped` is one that lives and waits."""
REPLICA_TIMEOUT_SECONDS: Final = 10.0
"""A replica whose heartbeat is older is shown as gone; they beat every two seconds."""
