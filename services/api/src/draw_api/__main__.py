"""`python -m draw_api` runs the API until it receives a stop signal."""

import gc
import sys

# Imported modules are not garbage; the lifecycle switches the collector on.
gc.disable()

from draw_api.app import Api  # noqa: E402
from draw_api.settings import ApiSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run the API and return its exit code."""
    own_files.keep_from_others()
    settings = ApiSettings.read()
    logging.configure_for(settings)
    return Api(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
