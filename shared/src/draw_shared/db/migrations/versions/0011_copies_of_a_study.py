"""Copies are found by their study, for the clean-up and for what a deletion says.

Locks and duration: nobody records a copy while the index is built; the table holds what is
still to be removed, so that this takes moments.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_file_copies_study_instance_uid"), "file_copies", ["study_instance_uid"]
    )
