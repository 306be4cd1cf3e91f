"""Queries that are asked again and again by a schedule, and what came of each run.

Locks and duration: makes two empty tables.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

STATES = ("asking", "retrieving", "complete", "partial", "failed", "skipped")


def _exact(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), server_default="", nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def upgrade() -> None:
    op.create_table(
        "standing_queries",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("query", JSONB(), server_default="{}", nullable=False),
        _exact("schedule"),
        _exact("zone"),
        sa.Column("retrieve", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("most", sa.Integer(), server_default="100", nullable=False),
        _moment("next_run_at", nullable=True),
        _moment("created_at"),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_queries")),
        sa.UniqueConstraint("name", name=op.f("uq_standing_queries_name")),
    )
    op.create_index(
        "ix_standing_queries_due",
        "standing_queries",
        ["next_run_at"],
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "standing_query_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("standing_query_id", sa.BigInteger(), nullable=False),
        _moment("scheduled_for"),
        sa.Column("run_by", sa.Text(), server_default="", nullable=False),
        _exact("state"),
        sa.Column("query_id", sa.Uuid(), nullable=True),
        sa.Column("retrieve_ids", ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        _whole("found"),
        _whole("already_here"),
        _whole("requested"),
        _whole("on_the_way"),
        _whole("left_out"),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        _moment("started_at"),
        _moment("finished_at", nullable=True),
        sa.CheckConstraint(f"state IN {STATES}", name=op.f("ck_standing_query_runs_state")),
        sa.ForeignKeyConstraint(
            ["standing_query_id"],
            ["standing_queries.id"],
            name=op.f("fk_standing_query_runs_standing_query_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_query_runs")),
        sa.UniqueConstraint(
            "standing_query_id",
            "scheduled_for",
            name=op.f("uq_standing_query_runs_standing_query_id_scheduled_for"),
        ),
    )
    op.create_index(
        "ix_standing_query_runs_unfinished",
        "standing_query_runs",
        ["id"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
