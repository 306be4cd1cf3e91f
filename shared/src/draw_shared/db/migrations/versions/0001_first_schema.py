"""First schema.

Locks and duration: creates everything in an empty database; nothing to wait for.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from draw_shared.db import partitions

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A trusted extension: the database owner may create it, no superuser is needed.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "allowed_ae_titles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("expected_ip", sa.Text(), server_default="", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allowed_ae_titles")),
        sa.UniqueConstraint("ae_title", name=op.f("uq_allowed_ae_titles_ae_title")),
    )
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "occurred_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("kind", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("series_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_changes")),
    )
    op.create_table(
        "file_deletions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("path", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
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
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file_deletions")),
    )
    op.create_index(op.f("ix_file_deletions_path"), "file_deletions", ["path"], unique=False)
    op.create_table(
        "feed_positions",
        sa.Column("consumer", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_feed_positions")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("secret", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "kinds",
            postgresql.ARRAY(sa.Text(collation="C")),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint(
            "webhook_id", "sequence", name=op.f("uq_webhook_deliveries_webhook_id_sequence")
        ),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        op.f("ix_webhook_deliveries_webhook_id"),
        "webhook_deliveries",
        ["webhook_id"],
        unique=False,
    )
    op.create_table(
        "instance_conflicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("path", sa.Text(), server_default="", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("calling_ae", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance_conflicts")),
        sa.UniqueConstraint(
            "sop_instance_uid",
            "content_sha256",
            name=op.f("uq_instance_conflicts_sop_instance_uid_content_sha256"),
        ),
    )
    op.create_index(
        op.f("ix_instance_conflicts_sop_instance_uid"),
        "instance_conflicts",
        ["sop_instance_uid"],
        unique=False,
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("patient_id", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "issuer_of_patient_id", sa.Text(collation="C"), server_default="", nullable=False
        ),
        sa.Column(
            "unidentified_study_uid", sa.Text(collation="C"), server_default="", nullable=False
        ),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("name_search", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("study_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("series_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("instance_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint(
            "patient_id",
            "issuer_of_patient_id",
            "unidentified_study_uid",
            name=op.f("uq_patients_identity"),
        ),
    )
    op.create_index(op.f("ix_patients_birth_date"), "patients", ["birth_date"], unique=False)
    op.create_index(op.f("ix_patients_name_search"), "patients", ["name_search"], unique=False)
    op.create_index(
        "ix_patients_name_search_trigrams",
        "patients",
        ["name_search"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"name_search": "gin_trgm_ops"},
    )
    op.create_index(
        "ix_patients_patient_id_trigrams",
        "patients",
        ["patient_id"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"patient_id": "gin_trgm_ops"},
    )
    op.create_table(
        "reception_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("objects", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_reception_days")),
    )
    op.create_table(
        "remote_nodes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("ae_title", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("calling_ae", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("supports_find", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("supports_move", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("supports_get", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("query_model", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), server_default="30", nullable=False),
        sa.Column("max_pdu_bytes", sa.Integer(), server_default="16384", nullable=False),
        sa.Column("move_destination", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "stores_from", sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
        ),
        sa.Column("tls", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("max_associations", sa.SmallInteger(), server_default="2", nullable=False),
        sa.Column("max_bytes_per_second", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "windows", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False
        ),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "circuit", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column(
            "capabilities",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "last_test",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_nodes")),
        sa.UniqueConstraint("name", name=op.f("uq_remote_nodes_name")),
    )
    op.create_index(op.f("ix_remote_nodes_ae_title"), "remote_nodes", ["ae_title"], unique=False)
    op.create_table(
        "server_config",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_server_config")),
    )
    op.create_table(
        "service_controls",
        sa.Column("service", sa.Text(collation="C"), nullable=False),
        sa.Column("replica", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("desired_state", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("restart_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("updated_by", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("service", "replica", name=op.f("pk_service_controls")),
    )
    op.create_table(
        "service_replicas",
        sa.Column("replica", sa.Text(collation="C"), nullable=False),
        sa.Column("service", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("active_associations", sa.Integer(), server_default="0", nullable=False),
        sa.Column("config_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.PrimaryKeyConstraint("replica", name=op.f("pk_service_replicas")),
    )
    op.create_index(
        op.f("ix_service_replicas_service"), "service_replicas", ["service"], unique=False
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("outcome", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("replica", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("association_id", sa.Text(collation="C"), nullable=True),
        sa.Column("calling_ae", sa.Text(collation="C"), nullable=True),
        sa.Column("called_ae", sa.Text(collation="C"), nullable=True),
        sa.Column("peer_address", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("objects", sa.Integer(), nullable=True),
        sa.Column("sop_class_uid", sa.Text(collation="C"), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=True),
        sa.Column("study_instance_uid", sa.Text(collation="C"), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(collation="C"), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("chain_position", sa.BigInteger(), nullable=True),
        sa.Column("chain_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", "occurred_at", name=op.f("pk_transactions")),
        sa.UniqueConstraint(
            "record_id", "occurred_at", name=op.f("uq_transactions_record_id_occurred_at")
        ),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index(
        "ix_transactions_calling_ae_occurred_at",
        "transactions",
        ["calling_ae", "occurred_at"],
        unique=False,
    )
    op.create_index(
        "ix_transactions_kind_occurred_at", "transactions", ["kind", "occurred_at"], unique=False
    )
    op.create_index("ix_transactions_occurred_at", "transactions", ["occurred_at"], unique=False)
    op.create_index(
        "ix_transactions_chain_position", "transactions", ["chain_position"], unique=False
    )
    op.create_index(
        "ix_transactions_unchained",
        "transactions",
        ["id"],
        unique=False,
        postgresql_where=sa.text("chain_hash IS NULL"),
    )
    op.execute("CREATE TABLE transactions_default PARTITION OF transactions DEFAULT")
    for statement in partitions.month_statements(datetime.now(UTC).date(), ahead=1):
        op.execute(statement)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("role", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), server_default="", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("external_subject", sa.Text(collation="C"), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("external_subject", name=op.f("uq_users_external_subject")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("role", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("subject", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "progress", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column(
            "result", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('scheduled', 'queued', 'running', 'waiting', 'cancelling', 'complete',"
            " 'partial', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.ForeignKeyConstraint(
            ["node_id"], ["remote_nodes.id"], name=op.f("fk_jobs_node_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["jobs.id"], name=op.f("fk_jobs_parent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_claimable",
        "jobs",
        ["priority", "not_before"],
        unique=False,
        postgresql_where=sa.text("state IN ('scheduled', 'queued', 'waiting')"),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"], unique=False)
    op.create_index(
        "ix_jobs_leased",
        "jobs",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('running', 'cancelling')"),
    )
    op.create_index(op.f("ix_jobs_node_id"), "jobs", ["node_id"], unique=False)
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"], unique=False)
    op.create_index(
        "ix_jobs_unfinished_subject",
        "jobs",
        ["subject"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL AND subject <> ''"),
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("level", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "keys", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("node_ids", sa.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("fingerprint", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["id"], ["jobs.id"], name=op.f("fk_queries_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queries")),
    )
    op.create_index(op.f("ix_queries_fingerprint"), "queries", ["fingerprint"], unique=False)
    op.create_index(op.f("ix_queries_created_at"), "queries", ["created_at"], unique=False)
    op.create_table(
        "query_results",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("query_id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("unique_key", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["remote_nodes.id"],
            name=op.f("fk_query_results_node_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["query_id"], ["queries.id"], name=op.f("fk_query_results_query_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_query_results")),
        sa.UniqueConstraint(
            "query_id",
            "node_id",
            "unique_key",
            name=op.f("uq_query_results_query_id_node_id_unique_key"),
        ),
    )
    op.create_index(op.f("ix_query_results_node_id"), "query_results", ["node_id"], unique=False)
    op.create_index(op.f("ix_query_results_query_id"), "query_results", ["query_id"], unique=False)
    op.create_table(
        "studies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("patient_pk", sa.BigInteger(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("study_time", sa.Time(), nullable=True),
        sa.Column("accession_number", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("study_id", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("description_search", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("referring_physician", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "referring_physician_search", sa.Text(collation="C"), server_default="", nullable=False
        ),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "modalities", sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
        ),
        sa.Column(
            "sop_classes", sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
        ),
        sa.Column("series_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("instance_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("stable_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["patient_pk"], ["patients.id"], name=op.f("fk_studies_patient_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
    )
    op.create_index(
        op.f("ix_studies_accession_number"), "studies", ["accession_number"], unique=False
    )
    op.create_index(
        "ix_studies_accession_number_trigrams",
        "studies",
        ["accession_number"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"accession_number": "gin_trgm_ops"},
    )
    op.create_index(
        "ix_studies_description_search_trigrams",
        "studies",
        ["description_search"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"description_search": "gin_trgm_ops"},
    )
    op.create_index("ix_studies_last_received_at", "studies", ["last_received_at"], unique=False)
    op.create_index(
        "ix_studies_modalities", "studies", ["modalities"], unique=False, postgresql_using="gin"
    )
    op.create_index(op.f("ix_studies_patient_pk"), "studies", ["patient_pk"], unique=False)
    op.create_index(
        "ix_studies_referring_physician_search_trigrams",
        "studies",
        ["referring_physician_search"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"referring_physician_search": "gin_trgm_ops"},
    )
    op.create_index(
        "ix_studies_study_date_time", "studies", ["study_date", "study_time"], unique=False
    )
    op.create_index(op.f("ix_studies_study_id"), "studies", ["study_id"], unique=False)
    op.create_index(
        "ix_studies_unsettled",
        "studies",
        ["last_received_at"],
        unique=False,
        postgresql_where=sa.text("stable_at IS NULL"),
    )
    op.create_table(
        "web_sessions",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("csrf_token", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_web_sessions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_web_sessions")),
    )
    op.create_index(op.f("ix_web_sessions_user_id"), "web_sessions", ["user_id"], unique=False)
    op.create_table(
        "job_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "progress", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_attempts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_attempts")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_job_attempts_job_id_number")),
    )
    op.create_index(op.f("ix_job_attempts_job_id"), "job_attempts", ["job_id"], unique=False)
    op.create_table(
        "retrieve_items",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("series_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("arrives_here", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_retrieve_items_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retrieve_items")),
        sa.UniqueConstraint(
            "job_id", "sop_instance_uid", name=op.f("uq_retrieve_items_job_id_sop_instance_uid")
        ),
    )
    op.create_index(op.f("ix_retrieve_items_job_id"), "retrieve_items", ["job_id"], unique=False)
    op.create_index(
        op.f("ix_retrieve_items_sop_instance_uid"),
        "retrieve_items",
        ["sop_instance_uid"],
        unique=False,
    )
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_pk", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("modality", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("series_number", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("body_part_examined", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("performed_date", sa.Date(), nullable=True),
        sa.Column("performed_time", sa.Time(), nullable=True),
        sa.Column(
            "request_attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "sop_classes", sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
        ),
        sa.Column("instance_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("stable_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_pk"], ["studies.id"], name=op.f("fk_series_study_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("series_instance_uid", name=op.f("uq_series_series_instance_uid")),
    )
    op.create_index(op.f("ix_series_modality"), "series", ["modality"], unique=False)
    op.create_index(op.f("ix_series_performed_date"), "series", ["performed_date"], unique=False)
    op.create_index(op.f("ix_series_study_pk"), "series", ["study_pk"], unique=False)
    op.create_index(
        "ix_series_unsettled",
        "series",
        ["last_received_at"],
        unique=False,
        postgresql_where=sa.text("stable_at IS NULL"),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("series_pk", sa.BigInteger(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("instance_number", sa.Integer(), nullable=True),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("path", sa.Text(), server_default="", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("association_id", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("calling_ae", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("peer_address", sa.Text(), server_default="", nullable=False),
        sa.Column("move_originator_ae", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("stated_patient", sa.Text(collation="C"), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["series_pk"], ["series.id"], name=op.f("fk_instances_series_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instances_sop_instance_uid")),
    )
    op.create_index(op.f("ix_instances_series_pk"), "instances", ["series_pk"], unique=False)
