"""Migrations that a later release might bring, beside those of this one."""

import re
import shutil
from pathlib import Path
from textwrap import dedent, indent

from draw_shared.db.migrate import SCRIPTS
from draw_shared.db.revisions import head_revision

EXPAND = """
    op.create_table("next_things", sa.Column("id", sa.BigInteger(), primary_key=True))
    op.add_column("jobs", sa.Column("next_words", sa.Text(), nullable=True))
"""
ADD = """
    op.add_column("{table}", sa.Column("next_words", sa.Text(), nullable=True))
"""
TABLES = ("instances", "studies", "remote_nodes", "webhooks", "changes", "transactions")
BUILD = """
    with op.get_context().autocommit_block():
        # Waiting for old transactions keeps nobody out.
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_instances_next_words")
        op.create_index(
            "ix_instances_next_words", "instances", ["next_words"], postgresql_concurrently=True
        )
        op.execute("SET lock_timeout = '2s'")
"""


def revision_after(revision: str) -> str:
    """Return the number of the migration that follows one."""
    return f"{int(revision) + 1:04d}"


def compatible_from(scripts: Path, revision: str) -> str:
    """Return from which release on the schema of a migration is served, as it says itself."""
    (file,) = scripts.glob(f"versions/{revision}_*.py")
    (since,) = re.findall(r'^compatible_from = "(\d+)"$', file.read_text("utf-8"), re.MULTILINE)
    return since


class LaterRelease:
    """The folder of a later release's migrations, to which they are added one by one."""

    def __init__(self, folder: Path) -> None:
        self.scripts = folder / "migrations"
        self.head = head_revision()
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, body: str, *, kind: str = "expand", compatible_from: str) -> Path:
        """Write the next migration and return its file."""
        before, self.head = self.head, revision_after(self.head)
        path = self.scripts / "versions" / f"{self.head}_later.py"
        path.write_text(
            f'"""What a later release does.\n\nLocks and duration: moments.\n"""\n\n'
            "import sqlalchemy as sa\nfrom alembic import op\n\n"
            f'revision = "{self.head}"\ndown_revision = "{before}"\n'
            f'branch_labels = None\ndepends_on = None\n\nkind = "{kind}"\n'
            f'compatible_from = "{compatible_from}"\n\n\ndef upgrade() -> None:\n'
            + indent(dedent(body).strip(), "    ")
            + "\n",
            encoding="utf-8",
        )
        return path

    def expand(self) -> None:
        """Add what each kind of migration that adds may do, one table at a time."""
        since = compatible_from(self.scripts, self.head)
        self.add(EXPAND, compatible_from=since)
        for table in TABLES:
            self.add(ADD.format(table=table), compatible_from=since)
        self.add(BUILD, compatible_from=since)
