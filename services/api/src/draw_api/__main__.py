"""`python -m draw_api` runs the API until it is told to stop."""

import gc
import sys

# What is imported is no garbage; the lifecycle lets the collector begin.
gc.disable()

from draw_api.app import Api  # noqa: E402
from draw_api.settings import ApiSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run and return the exit code."""
    own_files.keep_from_others()
    settings = ApiSettings.read()
    logging.configure_for(settings)
    return Api(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
