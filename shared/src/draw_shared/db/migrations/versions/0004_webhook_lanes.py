"""Each webhook finds its due deliveries by an index, and says since when it fails.

Locks and duration: adding columns locks `webhooks` for an instant. Building the three indexes
lets nobody write to `webhook_deliveries` for a few seconds per million deliveries.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those that are there are told of every change that was not read yet.
    op.add_column(
        "webhooks",
        sa.Column("since_sequence", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("webhooks", sa.Column("failing_since", sa.DateTime(timezone=True)))
    op.add_column("webhooks", sa.Column("disabled_at", sa.DateTime(timezone=True)))
    op.add_column(
        "webhooks",
        sa.Column("disabled_reason", sa.Text(collation="C"), server_default="", nullable=False),
    )
    op.drop_index("ix_webhook_deliveries_due", "webhook_deliveries")
    # The unique constraint begins with the same column.
    op.drop_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "next_attempt_at", "id"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_unfinished",
        "webhook_deliveries",
        ["webhook_id", "state", "sequence"],
        postgresql_where=sa.text("state <> 'delivered'"),
    )
    op.create_index(
        "ix_webhook_deliveries_finished",
        "webhook_deliveries",
        ["state", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
