"""`python -m draw_scp` runs one receiver until it is told to stop."""

import gc
import sys

# Imported objects are no garbage; the lifecycle enables the collector.
gc.disable()

from draw_scp.app import Scp  # noqa: E402
from draw_scp.settings import ScpSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run and return the exit code."""
    own_files.keep_from_others()
    settings = ScpSettings.read()
    logging.configure_for(settings)
    return Scp(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
