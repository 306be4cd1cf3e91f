"""Bounds the log of a server that does not rotate it itself, while it runs.

PostgreSQL and RabbitMQ append to the file that they were given as standard output. It is copied
and emptied; they go on at its new end. What they write in the moment between both is lost,
which a log that nothing depends on may. The services rotate theirs without loss
(`draw_shared.runtime.log_output`).
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 10 * 2**20
"""So much again lies in what was set aside."""


def set_aside(log: Path, max_bytes: int = MAX_BYTES) -> None:
    """Move what is in a log to `<log>.1` when it has grown to so many bytes."""
    with suppress(FileNotFoundError):
        if log.stat().st_size >= max_bytes:
            earlier = log.with_name(f"{log.name}.1")
            try:
                shutil.copyfile(log, earlier)
            except OSError:
                # The disk is full: better without the past than without room.
                earlier.unlink(missing_ok=True)
            os.truncate(log, 0)
