"""Which studies are here only because rules had them retrieved as earlier ones.

Locks and duration: makes an empty table that refers to `deliveries`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.create_table(
        "routed_priors",
        sa.Column("study_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_routed_priors_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "delivery_id", name=op.f("pk_routed_priors")),
    )
    op.create_index(op.f("ix_routed_priors_delivery_id"), "routed_priors", ["delivery_id"])
