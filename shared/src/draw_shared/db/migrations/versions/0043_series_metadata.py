"""Metadata of series as documents, made when a series is complete or somebody asks.

Locks and duration: makes an empty table that refers to `series`; compressed documents are not
compressed again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.create_table(
        "series_metadata",
        sa.Column("series_pk", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column(
            "made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["series_pk"],
            ["series.id"],
            name=op.f("fk_series_metadata_series_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("series_pk", name=op.f("pk_series_metadata")),
    )
    op.execute("ALTER TABLE series_metadata ALTER COLUMN document SET STORAGE EXTERNAL")
