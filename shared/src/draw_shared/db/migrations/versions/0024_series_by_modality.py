"""The newest series of a modality is found at once.

Locks and duration: none that keeps anybody out; the index of `series` takes some seconds per
million rows while the services work. The index that is the beginning of the new one goes.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Waiting for old transactions keeps nobody out.
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_series_modality_last_received_at")
        op.create_index(
            "ix_series_modality_last_received_at",
            "series",
            ["modality", "last_received_at"],
            postgresql_concurrently=True,
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_series_modality")
        op.execute("SET lock_timeout = '2s'")
