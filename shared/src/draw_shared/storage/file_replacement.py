"""Replaces small files as a whole: a reader finds the old content or the new content."""

import os
from contextlib import suppress
from pathlib import Path

from draw_shared.storage.folder_sync import sync_folders


def replace_file(path: Path, writer: str, content: bytes) -> None:
    """Replace the content of a file durably; each process writes under its own name first.

    Raises:
        OSError: the file has its old content, or the new content but not durably.
    """
    fresh = path.with_name(f"{path.name}.{writer}.new")
    try:
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o640), "wb") as file:
            file.write(content)
            file.flush()
            # Without this sync, a power cut could leave the new name without its content.
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_folders((str(path.parent),))
