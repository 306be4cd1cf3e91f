"""A clean-up in a process of its own, to be killed at any moment."""

import sys
from pathlib import Path

from draw_indexer.adapters.copies import FileCopies
from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from draw_indexer.services.clean_up import CleanUpService, RetentionRule
from draw_shared.db.session import Database
from support.forked import serve


def run(database_url, root, days):
    """Delete everything beyond retention, and finish what a killed one has left."""
    database = Database(database_url)
    deletions = PostgresExpiredStudyRepository(database, Path(root), replica="child")
    copies = FileCopies(database, Path(root))
    clean_up = CleanUpService(
        deletions, copies, lambda: RetentionRule(True, days), lambda: 0, lambda _: None
    )
    clean_up.remove_files()
    while deletions.expired(days):
        clean_up.delete_expired()


if __name__ == "__main__":
    url, folder, retention = sys.argv[1:]
    serve(lambda _: run(url, folder, int(retention)))
