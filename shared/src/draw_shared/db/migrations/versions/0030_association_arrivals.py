"""A series is complete when the associations that brought it have ended.

Locks and duration: makes four small tables, one of which refers to `series`, and adds a column with
a constant default to it, which rewrites nothing. Series that are open during the migration close
after their quiet period.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), nullable=False)


def _moment(name: str) -> sa.Column[datetime]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def upgrade() -> None:
    op.create_table(
        "association_arrivals",
        _key("association_id"),
        sa.Column("ordinals", INT4MULTIRANGE(), server_default="{}", nullable=False),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_association_arrivals")),
    )
    op.create_table(
        "association_ends",
        _key("association_id"),
        sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _whole("objects"),
        _moment("ended_at"),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_association_ends")),
    )
    op.create_table(
        "series_arrivals",
        sa.Column("series_pk", sa.BigInteger(), nullable=False),
        _key("association_id"),
        sa.Column("calling_ae", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_pk"],
            ["series.id"],
            name=op.f("fk_series_arrivals_series_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("series_pk", "association_id", name=op.f("pk_series_arrivals")),
    )
    op.create_table(
        "proved_arrivals",
        _key("uid"),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        _moment("proved_at"),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_proved_arrivals")),
    )
    for table, column in (
        ("association_arrivals", "updated_at"),
        ("association_ends", "ended_at"),
        ("series_arrivals", "association_id"),
        ("proved_arrivals", "proved_at"),
    ):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    op.create_index(
        "ix_series_arrivals_released",
        "series_arrivals",
        ["series_pk"],
        postgresql_where=sa.text("released"),
    )
    op.add_column("series", _whole("new_instance_count"))
