"""`python -m draw_dicomweb` runs the service until it receives a stop signal."""

import gc
import sys

# Imported modules are not garbage; the lifecycle switches the collector on.
gc.disable()

from draw_dicomweb.app import DicomWeb  # noqa: E402
from draw_dicomweb.settings import DicomwebSettings  # noqa: E402
from draw_shared.runtime import logging, own_files  # noqa: E402


def main() -> int:
    """Run the service and return its exit code."""
    own_files.keep_from_others()
    settings = DicomwebSettings.read()
    logging.configure_for(settings)
    return DicomWeb(settings).lifecycle().run()


if __name__ == "__main__":
    sys.exit(main())
