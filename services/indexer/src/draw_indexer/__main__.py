"""`python -m draw_indexer` runs one indexer until it receives a stop signal."""

import gc
import sys

# Imported modules are not garbage; the lifecycle switches the collector on.
gc.disable()

from draw_indexer.app import Indexer  # noqa: E402
from draw_indexer.settings import IndexerSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run the indexer and return its exit code."""
    own_files.keep_from_others()
    settings = IndexerSettings.read()
    logging.configure_for(settings)
    return Indexer(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
