"""What somebody did, and which lists are still kept, is found by indexes of few rows.

Locks and duration: building each of the two of the transaction log lets nobody write to it
while it is read once, about a second per million lines.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("actor", "action"):
        op.create_index(
            f"ix_transactions_{column}_occurred_at",
            "transactions",
            [column, "occurred_at"],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_index(
        "ix_batch_queries_kept", "batch_queries", ["id"], postgresql_where=sa.text("NOT expired")
    )
