"""An indexer's work in a process of its own, which dies right before a given step.

`START STEP EVENTS`: indexes the announcements of a file, one a line, and removes the files
that no row needs; step 0 is never reached.
"""

import sys
from pathlib import Path

from draw_shared.db.session import Database
from support.forked import die_before_step, serve
from support.indexed import IndexedStorage


def run(database_url, root, step, events):
    """Index and remove."""
    archive = IndexedStorage(Path(root), Database(database_url), receiving=False)
    announced = Path(events).read_bytes().splitlines()
    die_before_step(step)
    archive.index_events(announced)
    archive.settle()


if __name__ == "__main__":
    url, folder = sys.argv[1:]
    serve(lambda _, step, events: run(url, folder, int(step), events))
