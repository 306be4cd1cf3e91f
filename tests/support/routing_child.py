"""Routing in a process of its own, which dies right before a given commit.

`START COMMIT`: decides about everything; commit 0 is never reached.
"""

import sys
from pathlib import Path

from draw_shared.db.session import Database
from support.forked import die_before_step, serve
from support.routed import Routed


def run(database_url, root, commit):
    """Decide."""
    routed = Routed(Database(database_url), Path(root))
    die_before_step(commit)
    routed.decide()


if __name__ == "__main__":
    url, folder = sys.argv[1:]
    serve(lambda _, commit: run(url, folder, int(commit)))
