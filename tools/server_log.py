"""Limits the log of a running server that does not rotate it itself.

PostgreSQL and RabbitMQ append to the file that is their standard output. The file is copied and
truncated, and they continue at its new end. Lines written between copy and truncation are lost,
which is acceptable because nothing depends on these logs. The services rotate their logs without
loss (`draw_shared.runtime.log_output`).
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 10 * 2**20
"""The copy may have the same size again."""


def set_aside(log: Path, max_bytes: int = MAX_BYTES) -> None:
    """Move the content of a log to `<log>.1` once it has `max_bytes`."""
    with suppress(FileNotFoundError):
        if log.stat().st_size >= max_bytes:
            earlier = log.with_name(f"{log.name}.1")
            try:
                shutil.copyfile(log, earlier)
            except OSError:
                # The disk is full: give up the old lines to make room.
                earlier.unlink(missing_ok=True)
            os.truncate(log, 0)
