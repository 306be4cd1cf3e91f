"""The moments of the change feed never go backwards, and its kinds are read by an index.

Locks and duration: replacing the default locks `changes` exclusively for an instant. Building
the index lets nobody write to `changes` for about a second per million entries.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# VOLATILE also sees what the same transaction has written, so that no clock step within it
# matters. Writers of the feed take turns: nobody else's entry appears in between.
NEXT_CHANGE_MOMENT = """
CREATE FUNCTION next_change_moment() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN greatest(
        clock_timestamp(), (SELECT occurred_at FROM changes ORDER BY sequence DESC LIMIT 1));
END $$
"""


def upgrade() -> None:
    op.execute(NEXT_CHANGE_MOMENT)
    op.execute("ALTER TABLE changes ALTER occurred_at SET DEFAULT next_change_moment()")
    op.create_index("ix_changes_kind_sequence", "changes", ["kind", "sequence"])
