"""Deliveries are listed by state and by destination.

Locks and duration: none that keeps anybody out; a second for each million deliveries.
"""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

INDEXES = {
    "ix_deliveries_state": ["state", "id"],
    "ix_deliveries_destination_state": ["destination", "state", "id"],
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Waiting for old transactions keeps nobody out.
        op.execute("SET lock_timeout = 0")
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(name, "deliveries", columns, postgresql_concurrently=True)
        op.execute("SET lock_timeout = '2s'")
