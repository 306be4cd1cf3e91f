"""AE titles have rights, move destinations and certificates.

Locks and duration: takes `allowed_ae_titles`, which has few rows, exclusively for a moment, to
add columns with constant values. Who is on the list may do everything, as before; so does who
is put there by the release before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

COLUMNS = {
    "rights": "{echo,store,query,retrieve,move}",
    "move_destinations": "{}",
    "certificates": "{}",
}


def upgrade() -> None:
    for name, default in COLUMNS.items():
        op.add_column(
            "allowed_ae_titles",
            sa.Column(
                name, sa.ARRAY(sa.Text(collation="C")), server_default=default, nullable=False
            ),
        )
