"""What an endpoint has answered for says who it came from, and how often that was somebody else.

Rows that are there say neither: a release before had not written it down.

Locks and duration: a moment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column("delivered_objects", sa.Column("origin", sa.Text()))
    op.add_column(
        "delivered_objects",
        sa.Column("hops", sa.Integer(), server_default="0", nullable=False),
    )
