"""Studies are found by their words, and listed by date, description and name of the patient.

Locks and duration: builds indexes of `study_words`, `studies` and `patients` one after the other,
half a minute per million studies, while everybody goes on writing. That of names alone goes: the
new one begins with them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

STUDIED_AT = "coalesce(study_date + coalesce(study_time, '00:00:00'::time), '-infinity'::timestamp)"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Waiting for old transactions keeps nobody out.
        op.execute("SET lock_timeout = 0")
        for name in (
            "ix_study_words_trigrams",
            "ix_studies_studied_at",
            "ix_studies_description_search_id",
            "ix_studies_held",
            "ix_patients_name_search_id",
        ):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.create_index(
            "ix_study_words_trigrams",
            "study_words",
            ["words"],
            postgresql_using="gin",
            postgresql_ops={"words": "gin_trgm_ops"},
            postgresql_concurrently=True,
        )
        op.create_index(
            "ix_studies_studied_at",
            "studies",
            [sa.text(STUDIED_AT), "id"],
            postgresql_concurrently=True,
        )
        op.create_index(
            "ix_studies_description_search_id",
            "studies",
            ["description_search", "id"],
            postgresql_concurrently=True,
        )
        op.create_index(
            "ix_studies_held",
            "studies",
            ["id"],
            postgresql_where=sa.text("held"),
            postgresql_concurrently=True,
        )
        op.create_index(
            "ix_patients_name_search_id",
            "patients",
            ["name_search", "id"],
            postgresql_concurrently=True,
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_patients_name_search")
        op.execute("SET lock_timeout = '2s'")
