"""What the rules of routing decided, and the deliveries that follow from it.

Locks and duration: makes empty tables, one of which refers to `jobs`.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

STATES = ("pending", "running", "waiting", "delivered", "partial", "failed", "superseded")
TRIGGERS = ("series_complete", "study_complete", "instance")


def _identity() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)


def _exact(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), server_default="", nullable=False)


def _plain(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _texts(name: str) -> sa.Column[list[str]]:
    return sa.Column(name, sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "routing_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("routing_version", sa.Integer(), nullable=False),
        _texts("rules"),
        sa.Column("criteria", JSONB(), server_default="{}", nullable=False),
        _exact("state"),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until", sa.BigInteger(), server_default="0", nullable=False),
        _whole("series_count"),
        _whole("delivery_count"),
        _plain("error"),
        _moment("created_at"),
        _plain("created_by"),
        _moment("finished_at", nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'cancelled', 'failed')",
            name=op.f("ck_routing_batches_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_batches")),
    )
    op.create_table(
        "routing_decisions",
        _identity(),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("routing_version", sa.Integer(), nullable=False),
        _exact("trigger"),
        _exact("study_instance_uid"),
        _exact("series_instance_uid"),
        _exact("sop_instance_uid"),
        _texts("applied"),
        _texts("undecided"),
        _texts("destinations"),
        _moment("decided_at"),
        sa.CheckConstraint(f"trigger IN {TRIGGERS}", name=op.f("ck_routing_decisions_trigger")),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["routing_batches.id"],
            name=op.f("fk_routing_decisions_batch_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_decisions")),
        sa.UniqueConstraint("sequence", name=op.f("uq_routing_decisions_sequence")),
    )
    for column in ("batch_id", "study_instance_uid", "decided_at"):
        op.create_index(op.f(f"ix_routing_decisions_{column}"), "routing_decisions", [column])
    op.create_table(
        "deliveries",
        _identity(),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        _exact("destination"),
        _exact("study_instance_uid"),
        _exact("series_instance_uid"),
        _exact("sop_instance_uid"),
        sa.Column("payload", JSONB(), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="pending", nullable=False),
        _exact("target"),
        _moment("target_since", nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        _whole("attempts"),
        _whole("failures"),
        _whole("instance_count"),
        _whole("delivered_count"),
        _plain("error"),
        _moment("created_at"),
        _moment("started_at", nullable=True),
        _moment("next_attempt_at"),
        _moment("give_up_at"),
        _moment("finished_at", nullable=True),
        sa.CheckConstraint(f"state IN {STATES}", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["routing_decisions.id"],
            name=op.f("fk_deliveries_decision_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "decision_id", "destination", name=op.f("uq_deliveries_decision_id_destination")
        ),
    )
    for column in ("study_instance_uid", "series_instance_uid", "job_id", "created_at"):
        op.create_index(op.f(f"ix_deliveries_{column}"), "deliveries", [column])
    op.create_index(
        "ix_deliveries_unfinished",
        "deliveries",
        ["destination", "created_at", "id"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_deliveries_finished",
        "deliveries",
        ["finished_at", "destination"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_table(
        "delivered_objects",
        sa.Column("endpoint", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), server_default="0", nullable=False),
        _moment("answered_at"),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_delivered_objects_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "endpoint", "sop_instance_uid", "content_sha256", name=op.f("pk_delivered_objects")
        ),
    )
    op.create_index(op.f("ix_delivered_objects_delivery_id"), "delivered_objects", ["delivery_id"])
    op.create_table(
        "destination_states",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("mode", sa.Text(collation="C"), server_default="active", nullable=False),
        _moment("mode_since"),
        _plain("mode_by"),
        _whole("failures"),
        _moment("failing_since", nullable=True),
        _moment("last_attempt_at", nullable=True),
        _moment("last_success_at", nullable=True),
        _moment("last_error_at", nullable=True),
        _plain("last_error"),
        _exact("in_force"),
        sa.CheckConstraint(
            "mode IN ('active', 'paused', 'draining')", name=op.f("ck_destination_states_mode")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destination_states")),
    )
