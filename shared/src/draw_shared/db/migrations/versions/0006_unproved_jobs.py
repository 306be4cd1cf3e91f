"""Jobs may end unproved, and nodes have one of the three query models.

Locks and duration: `jobs` and `remote_nodes` exclusively while their rows are checked, which
reads each table once: a second for a million jobs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(
        op.f("ck_jobs_state"),
        "jobs",
        "state IN ('scheduled', 'queued', 'running', 'waiting', 'cancelling', 'complete',"
        " 'unproved', 'partial', 'failed', 'cancelled')",
    )
    op.execute("UPDATE remote_nodes SET query_model = 'study' WHERE query_model = ''")
    op.alter_column("remote_nodes", "query_model", server_default=sa.text("'study'"))
    op.create_check_constraint(
        op.f("ck_remote_nodes_query_model"),
        "remote_nodes",
        "query_model IN ('study', 'patient', 'patient_study')",
    )
