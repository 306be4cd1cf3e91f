"""Deleted studies are remembered, and second files of an object are recorded to go.

Locks and duration: makes two tables; takes `file_deletions`, which holds what is still to be
removed, exclusively for moments. What was deleted so far is taken from the change feed, which
is read once (a second per million entries), and from the management lines of the
transaction log, which an index finds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The clean-up deletes what was received long ago: what came on its last day is not meant.
DELETED_SO_FAR = """
    INSERT INTO tombstones (uid, before_ns, deleted_by, deleted_at)
    SELECT DISTINCT ON (uid) uid, CAST(extract(epoch FROM CASE WHEN deleted_by = 'clean-up'
        THEN deleted_at - interval '1 day' ELSE deleted_at END) * 1000000 AS bigint) * 1000,
        deleted_by, deleted_at
    FROM (
        SELECT study_instance_uid AS uid, occurred_at AS deleted_at, '' AS deleted_by
        FROM changes WHERE kind = 'study.deleted'
        UNION ALL
        SELECT study_instance_uid, occurred_at, coalesce(actor, '') FROM transactions
        WHERE kind = 'management' AND action = 'study.delete' AND outcome = 'success') d
    WHERE uid <> '' ORDER BY uid, deleted_by = '', deleted_at DESC
"""


def upgrade() -> None:
    op.create_table(
        "file_copies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("path", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("inode", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file_copies")),
    )
    op.create_index(op.f("ix_file_copies_path"), "file_copies", ["path"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("uid", sa.Text(collation="C"), nullable=False),
        sa.Column("before_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("deleted_by", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_deleted_at"), "tombstones", ["deleted_at"], unique=False)
    op.execute(DELETED_SO_FAR)
    # Removed files were kept on record for half an hour: tombstones say more.
    op.execute("DELETE FROM file_deletions WHERE removed_at IS NOT NULL")
    op.drop_column("file_deletions", "removed_at")
