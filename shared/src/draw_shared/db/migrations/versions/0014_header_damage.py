"""The index says which headers break the rules of DICOM, and how.

Locks and duration: takes `instances` exclusively for a moment; the new column is written
nowhere. Objects that were indexed before have no such reason until they are indexed again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "instances", sa.Column("header_damage", sa.Text(), server_default="", nullable=False)
    )
