"""A version that was set aside becomes current when the current one is gone.

Locks and duration: takes `instance_conflicts` exclusively for moments, to add a column and an
index of nothing; then reads it once beside the index of `instances` (a second per hundred
thousand conflicts), because earlier releases have left versions without a current one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "instance_conflicts",
        sa.Column("to_announce", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_index(
        "ix_instance_conflicts_to_announce",
        "instance_conflicts",
        ["id"],
        postgresql_where=sa.text("to_announce"),
    )
    op.execute(
        "UPDATE instance_conflicts c SET to_announce = true WHERE NOT EXISTS"
        " (SELECT FROM instances i WHERE i.sop_instance_uid = c.sop_instance_uid)"
    )
