"""Alembic's entry: runs on the connection that `draw_shared.db.migrate` hands over.

Each migration says in the database from which release on its schema is served.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import text

from draw_shared.db.tables import metadata

RECORD: Final = text(
    "INSERT INTO schema_revisions (revision, compatible_from) VALUES (:revision, :compatible_from)"
)


def _record(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - alembic names them all
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Say it in the migration's own transaction; those before 0016 served their release alone."""
    script = step.up_revision
    if ctx.connection is None or not isinstance(script, Script):
        return
    compatible_from = getattr(script.module, "compatible_from", None)
    if compatible_from is not None:
        values = {"revision": script.revision, "compatible_from": compatible_from}
        ctx.connection.execute(RECORD, values)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    transaction_per_migration=True,
    on_version_apply=_record,
)
context.run_migrations()
