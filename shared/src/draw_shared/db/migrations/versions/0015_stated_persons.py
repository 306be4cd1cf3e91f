"""Several people under one Patient ID are told apart.

Locks and duration: takes `patients`, `studies`, `series` and `instances` exclusively for
moments, to add columns without values; the index of ambiguous patients, of whom there are none
yet, lets nobody write to `patients` for half a second per million. What earlier releases have
indexed counts as its patient's row says, until it is read again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "patients",
        sa.Column("ambiguous", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    for table in ("studies", "series"):
        op.add_column(
            table,
            sa.Column(
                "persons", sa.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
            ),
        )
    op.add_column("instances", sa.Column("stated_person", sa.Text(collation="C"), nullable=True))
    op.create_index(
        "ix_patients_ambiguous", "patients", ["id"], postgresql_where=sa.text("ambiguous")
    )
    op.create_table(
        "stated_persons",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("patient_pk", sa.BigInteger(), nullable=False),
        sa.Column("study_pk", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("name_search", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(collation="C"), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_pk"],
            ["patients.id"],
            name=op.f("fk_stated_persons_patient_pk"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["study_pk"],
            ["studies.id"],
            name=op.f("fk_stated_persons_study_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stated_persons")),
    )
    for column in ("patient_pk", "study_pk", "birth_date"):
        op.create_index(op.f(f"ix_stated_persons_{column}"), "stated_persons", [column])
    op.create_index(
        "ix_stated_persons_name_search_trigrams",
        "stated_persons",
        ["name_search"],
        postgresql_using="gin",
        postgresql_ops={"name_search": "gin_trgm_ops"},
    )
