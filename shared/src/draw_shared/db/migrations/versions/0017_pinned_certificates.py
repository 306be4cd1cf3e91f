"""A remote node may have a certificate pinned.

Locks and duration: takes `remote_nodes` exclusively for a moment; the new column is written
nowhere. Releases before this one leave it alone, and trust by authority alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.add_column(
        "remote_nodes",
        sa.Column("tls_fingerprint", sa.Text(collation="C"), server_default="", nullable=False),
    )
