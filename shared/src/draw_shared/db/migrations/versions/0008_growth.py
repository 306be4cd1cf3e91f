"""What is asked of growing tables has an index, sums are kept, and no index is another's beginning.

Locks and duration: building an index lets nobody write to its table meanwhile. Five indexes of
the transaction log take about eight seconds per million lines, those of the other tables about
a second per million rows. Adding up the index takes a second per million studies; triggers
are made under an exclusive lock of `studies` and `series`, for an instant.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

REDUNDANT = (
    ("instance_conflicts", "sop_instance_uid"),
    ("job_attempts", "job_id"),
    ("jobs", "node_id"),
    ("query_results", "query_id"),
    ("retrieve_items", "job_id"),
)
INDEXES = (
    ("ix_patients_size_bytes", "patients", ("size_bytes", "id"), None),
    ("ix_studies_size_bytes", "studies", ("size_bytes", "id"), None),
    (
        "ix_instance_conflicts_study_instance_uid",
        "instance_conflicts",
        ("study_instance_uid",),
        None,
    ),
    ("ix_retrieve_items_study_instance_uid", "retrieve_items", ("study_instance_uid",), None),
    ("ix_jobs_state_created_at", "jobs", ("state", "created_at"), None),
    ("ix_jobs_node_id_created_at", "jobs", ("node_id", "created_at"), None),
    ("ix_jobs_finished_at_node_id", "jobs", ("finished_at", "node_id"), None),
    ("ix_jobs_without_parent", "jobs", ("created_at",), "parent_id IS NULL"),
    (
        "ix_transactions_called_ae_occurred_at",
        "transactions",
        ("called_ae", "occurred_at"),
        None,
    ),
    (
        "ix_transactions_unsuccessful",
        "transactions",
        ("outcome", "occurred_at"),
        "outcome <> 'success'",
    ),
    (
        "ix_transactions_study_instance_uid",
        "transactions",
        ("study_instance_uid",),
        "study_instance_uid IS NOT NULL",
    ),
    (
        "ix_transactions_association_id",
        "transactions",
        ("association_id",),
        "association_id IS NOT NULL",
    ),
)

PARTS = {
    "studies": """
        SELECT kind, '' AS name, {sign} AS number, {sign} * instance_count AS instances,
            {sign} * size_bytes AS size
        FROM {rows}, (VALUES ('studies'), ('held')) AS kinds (kind)
        WHERE kind = 'studies' OR held
    """,
    "series": """
        SELECT 'modality' AS kind, modality AS name, {sign} AS number,
            {sign} * instance_count AS instances, {sign} * size_bytes AS size
        FROM {rows}
    """,
}
ADD = """
    INSERT INTO index_totals AS t (kind, name, number, instances, size_bytes)
    SELECT kind, name, sum(number), sum(instances), sum(size) FROM ({parts}) changed
    GROUP BY kind, name
    HAVING sum(number) <> 0 OR sum(instances) <> 0 OR sum(size) <> 0
    ORDER BY kind, name
    ON CONFLICT (kind, name) DO UPDATE SET number = t.number + EXCLUDED.number,
        instances = t.instances + EXCLUDED.instances,
        size_bytes = t.size_bytes + EXCLUDED.size_bytes
"""
TRANSITIONS = {
    "INSERT": (("came", 1),),
    "UPDATE": (("came", 1), ("went", -1)),
    "DELETE": (("went", -1),),
}
REFERENCING = {"came": "NEW TABLE AS came", "went": "OLD TABLE AS went"}


def upgrade() -> None:
    for table, column in REDUNDANT:
        op.drop_index(op.f(f"ix_{table}_{column}"), table_name=table)
    for name, table, columns, where in INDEXES:
        op.create_index(
            name, table, list(columns), postgresql_where=sa.text(where) if where else None
        )
    op.create_index(
        "ix_transactions_sop_instance_uid",
        "transactions",
        ["sop_instance_uid"],
        postgresql_using="hash",
    )
    _keep_totals()


def _keep_totals() -> None:
    op.create_table(
        "index_totals",
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("instances", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_index_totals")),
    )
    for table in PARTS:
        op.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        op.execute(_adding(table, ((table, 1),)))
        for event, transitions in TRANSITIONS.items():
            _make_trigger(table, event, transitions)


def _make_trigger(table: str, event: str, transitions: tuple[tuple[str, int], ...]) -> None:
    name = f"keep_totals_of_{table}_{event.lower()}"
    referencing = " ".join(REFERENCING[rows] for rows, _ in transitions)
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN {_adding(table, transitions)}; RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {referencing}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def _adding(table: str, sources: tuple[tuple[str, int], ...]) -> str:
    parts = (PARTS[table].format(rows=rows, sign=sign) for rows, sign in sources)
    return ADD.format(parts=" UNION ALL ".join(parts))
