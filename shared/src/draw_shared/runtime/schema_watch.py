"""The last seen revision of the database schema, for `/readyz`, `/metrics` and the status."""

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlmodel import Session

from draw_shared.db.guard import SchemaMismatch, require_served_schema
from draw_shared.db.revisions import head_revision, is_later

log = structlog.get_logger()


class SchemaWatch:
    """Knows whether this release serves the schema, and if not, why."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reason = ""
        """Why the schema is not served, in one sentence; empty if it is served or unknown."""
        self._found = ""
        shown = Gauge(
            "draw_service_schema_revision",
            "Number of the newest migration: of the database, 0 before it was seen, and of this"
            " release",
            ["of"],
            registry=registry,
        )
        shown.labels("database").set_function(lambda: float(self._found or 0))
        shown.labels("release").set(float(head_revision()))

    @property
    def seen(self) -> dict[str, str]:
        """The two revisions for the status."""
        return {"database": self._found, "release": head_revision()}

    def look(self, session: Session) -> None:
        """Return if this release serves the schema; a later release's schema is logged once.

        Raises:
            SchemaMismatch: this release cannot serve the schema.
        """
        try:
            found = require_served_schema(session)
        except SchemaMismatch as error:
            self._found, self.reason = error.found or "", str(error)
            raise
        if found != self._found and is_later(found):
            log.info("schema.later_release", schema=found, release=head_revision())
        self._found, self.reason = found, ""
