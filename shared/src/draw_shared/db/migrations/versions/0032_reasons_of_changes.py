"""The change feed says why something is complete, and how much of it is new.

Locks and duration: adds columns that rewrite nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column(
        "changes", sa.Column("reason", sa.Text(collation="C"), server_default="", nullable=False)
    )
    op.add_column("changes", sa.Column("new_instance_count", sa.Integer(), nullable=True))
