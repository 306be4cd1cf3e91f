"""Secrets of webhooks are written as Standard Webhooks has them, and may be replaced gently.

A secret of before stays the same key: `whsec_` and the base64 of its text. Only one that is
written so already, with at least 24 bytes, stays as it is.

Locks and duration: locks `webhooks`, which has few rows, for an instant.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# PostgreSQL breaks base64 into lines.
REWRITE = """
UPDATE webhooks
SET secret = 'whsec_' || translate(encode(convert_to(secret, 'UTF8'), 'base64'), E'\\n', '')
WHERE secret !~
    '^whsec_([A-Za-z0-9+/]{4}){8,}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
"""


def upgrade() -> None:
    op.add_column(
        "webhooks", sa.Column("previous_secret", sa.Text(), server_default="", nullable=False)
    )
    op.add_column("webhooks", sa.Column("previous_secret_until", sa.DateTime(timezone=True)))
    op.execute(REWRITE)
