"""A sender may have a settle time of its own.

Locks and duration: adds an empty column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column(
        "allowed_ae_titles", sa.Column("settle_time_seconds", sa.Integer(), nullable=True)
    )
