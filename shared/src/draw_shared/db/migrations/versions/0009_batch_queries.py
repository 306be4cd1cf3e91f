"""Lists of questions to remote nodes, and what each node said to each.

Locks and duration: three new tables; `jobs` and `remote_nodes` are locked against writing for
the instant in which the foreign keys are made.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batch_queries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "columns",
            postgresql.ARRAY(sa.Text(collation="C")),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("kept_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["id"], ["jobs.id"], name=op.f("fk_batch_queries_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_queries")),
    )
    op.create_index(op.f("ix_batch_queries_created_at"), "batch_queries", ["created_at"])
    op.create_table(
        "batch_query_lines",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("batch_query_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("keys", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_query_id"],
            ["batch_queries.id"],
            name=op.f("fk_batch_query_lines_batch_query_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_query_lines")),
        sa.UniqueConstraint(
            "batch_query_id", "number", name=op.f("uq_batch_query_lines_batch_query_id_number")
        ),
    )
    op.create_table(
        "batch_query_answers",
        sa.Column("line_id", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("found", sa.Integer(), server_default="0", nullable=False),
        sa.Column("studies", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "answered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('complete', 'truncated', 'failed')",
            name=op.f("ck_batch_query_answers_state"),
        ),
        sa.ForeignKeyConstraint(
            ["line_id"],
            ["batch_query_lines.id"],
            name=op.f("fk_batch_query_answers_line_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["remote_nodes.id"],
            name=op.f("fk_batch_query_answers_node_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("line_id", "node_id", name=op.f("pk_batch_query_answers")),
    )
    op.create_index(op.f("ix_batch_query_answers_node_id"), "batch_query_answers", ["node_id"])
