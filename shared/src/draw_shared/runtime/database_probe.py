"""Watches whether the database answers, and runs the first action that needs it."""

import time
from collections.abc import Callable
from typing import Final

from draw_shared.db.session import Database
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch

PROBE_INTERVAL_SECONDS: Final = 2.0
TRUST_TIMEOUT_SECONDS: Final = 8.0


class DatabaseProbe:
    """Knows whether the database answered lately, with a schema that this release serves.

    `when_first_seen`, if given, runs once on the probe's thread, as soon as the database answers.
    Until it has succeeded, the database does not count as available.
    """

    name = "database-probe"

    def __init__(
        self,
        database: Database,
        schema: SchemaWatch,
        when_first_seen: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._schema = schema
        self._when_first_seen = when_first_seen
        self._prepared = False
        self._seen_at: float | None = None
        self._periodic = Periodic(self.name, self._look, interval_seconds=PROBE_INTERVAL_SECONDS)

    def start(self) -> None:
        """Start probing."""
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop probing."""
        self._periodic.stop(deadline_seconds)

    def there(self) -> bool:
        """Return whether the database answered within the last seconds."""
        return (
            self._seen_at is not None and time.monotonic() - self._seen_at < TRUST_TIMEOUT_SECONDS
        )

    def _look(self) -> None:
        with self._database.session() as session:
            self._schema.look(session)
        if not self._prepared:
            self._when_first_seen()
            self._prepared = True
        self._seen_at = time.monotonic()
