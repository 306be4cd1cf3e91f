"""How many jobs of a node come first is counted from an index of the queue.

Locks and duration: none that keeps anybody out; the index holds queued jobs only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Waiting for old transactions keeps nobody out.
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_jobs_queue")
        op.create_index(
            "ix_jobs_queue",
            "jobs",
            ["node_id", "priority", "created_at", "id"],
            postgresql_where=sa.text("state = 'queued'"),
            postgresql_concurrently=True,
        )
        op.execute("SET lock_timeout = '2s'")
