"""${message}.

Locks and duration: say here what is locked and for how long on a large database.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# docs/decisions/0029: an expand adds what releases from compatible_from on can leave alone; a
# contract removes what the releases from its compatible_from on do not use any more.
kind = "expand"
compatible_from = "the one of ${down_revision}"


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
