"""Lines of the transaction log have an attestation, and the last of each batch a seal.

Locks and duration: the transaction log for a moment; no row is written.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def upgrade() -> None:
    # Both at once: who waits for the log keeps out all who come behind him.
    op.execute("ALTER TABLE transactions ADD COLUMN attestation bytea, ADD COLUMN seal bytea")
