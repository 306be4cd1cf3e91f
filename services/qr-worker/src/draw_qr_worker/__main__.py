"""`python -m draw_qr_worker` runs one worker until it is told to stop."""

import sys

from draw_qr_worker.app import Worker
from draw_qr_worker.settings import Settings
from draw_shared.runtime import logging


def main() -> int:
    """Run and return the exit code."""
    settings = Settings.read()
    logging.configure(settings.log_level, service=settings.service, replica=settings.replica)
    return Worker(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
