"""`python -m draw_qr_worker` runs one worker until it is told to stop."""

import gc
import sys

# What is imported is no garbage; the lifecycle lets the collector begin.
gc.disable()

from draw_qr_worker.app import Worker  # noqa: E402
from draw_qr_worker.settings import QrWorkerSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run and return the exit code."""
    own_files.keep_from_others()
    settings = QrWorkerSettings.read()
    logging.configure_for(settings)
    return Worker(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
