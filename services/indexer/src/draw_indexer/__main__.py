"""`python -m draw_indexer` runs one indexer until it is told to stop."""

import sys

from draw_indexer.app import Indexer
from draw_indexer.settings import Settings
from draw_shared.runtime import logging


def main() -> int:
    """Run and return the exit code."""
    settings = Settings.read()
    logging.configure(settings.log_level, service=settings.service, replica=settings.replica)
    return Indexer(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
