"""Which decisions of the rules are looked at again, because a file could not be read.

Locks and duration: makes an empty table that refers to `routing_decisions`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    op.create_table(
        "routing_postponed",
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("look_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["routing_decisions.id"],
            name=op.f("fk_routing_postponed_decision_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_routing_postponed")),
    )
    op.create_index(
        op.f("ix_routing_postponed_look_again_at"), "routing_postponed", ["look_again_at"]
    )
