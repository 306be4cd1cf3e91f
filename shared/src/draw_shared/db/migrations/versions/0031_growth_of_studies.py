"""A study that is complete says how many objects are new.

Locks and duration: adds a column with a constant default, which rewrites nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column(
        "studies", sa.Column("new_instance_count", sa.Integer(), server_default="0", nullable=False)
    )
