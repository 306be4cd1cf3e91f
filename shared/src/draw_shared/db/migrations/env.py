"""Alembic's entry: runs on the connection that `draw_shared.db.migrate` hands over."""

from alembic import context

from draw_shared.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True)
context.run_migrations()
