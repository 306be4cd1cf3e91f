"""`python -m draw_scp` runs one receiver until it is told to stop."""

import sys

from draw_scp.app import Scp
from draw_scp.settings import Settings
from draw_shared.runtime import logging


def main() -> int:
    """Run and return the exit code."""
    settings = Settings.read()
    logging.configure(settings.log_level, service=settings.service, replica=settings.replica)
    return Scp(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
