"""It stays known whose study was deleted, for those who may read it.

Locks and duration: makes one table, which locks nothing. What was deleted before stays without it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _exact(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), server_default="", nullable=False)


def upgrade() -> None:
    op.create_table(
        "deleted_studies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _exact("study_instance_uid"),
        _exact("patient_id"),
        sa.Column("study_date", sa.Date(), nullable=True),
        _text("description"),
        sa.Column(
            "modalities",
            sa.ARRAY(sa.Text(collation="C")),
            server_default="{}",
            nullable=False,
        ),
        _text("deleted_by"),
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_studies")),
    )
    for column in ("patient_id", "study_instance_uid"):
        op.create_index(f"ix_deleted_studies_{column}", "deleted_studies", [column, "deleted_at"])
    op.create_index(op.f("ix_deleted_studies_deleted_at"), "deleted_studies", ["deleted_at"])
