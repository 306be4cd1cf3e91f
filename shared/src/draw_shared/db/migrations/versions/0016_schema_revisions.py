"""The schema says which releases may still work on it.

Locks and duration: makes a table. Releases before this one demand a schema of exactly their own
revision: stop them first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.create_table(
        "schema_revisions",
        sa.Column("revision", sa.Text(collation="C"), nullable=False),
        sa.Column("compatible_from", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "applied_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_revisions")),
    )
