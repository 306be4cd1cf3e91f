"""What a remote node takes for now, since it refused more associations at a time.

Locks and duration: `remote_nodes` exclusively for an instant; a constant default rewrites no row.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "remote_nodes",
        sa.Column(
            "congestion",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
    )
