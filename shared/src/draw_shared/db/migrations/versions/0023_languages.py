"""A user may choose the language of the page.

Locks and duration: takes `users` exclusively for a moment, to add a column with a constant value.
Releases before this one leave it alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column("language", sa.Text(collation="C"), server_default="", nullable=False),
    )
