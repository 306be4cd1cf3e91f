"""`python -m draw_api` runs the API until it is told to stop."""

import sys

from draw_api.app import Api
from draw_api.settings import Settings
from draw_shared.runtime import logging


def main() -> int:
    """Run and return the exit code."""
    settings = Settings.read()
    logging.configure(settings.log_level, service=settings.service, replica=settings.replica)
    return Api(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
