"""`python -m draw_qr_worker` runs one worker until it receives a stop signal."""

import gc
import sys

# Imported modules are not garbage; the lifecycle switches the collector on.
gc.disable()

from draw_qr_worker.app import Worker  # noqa: E402
from draw_qr_worker.settings import QrWorkerSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run the worker and return its exit code."""
    own_files.keep_from_others()
    settings = QrWorkerSettings.read()
    logging.configure_for(settings)
    return Worker(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
