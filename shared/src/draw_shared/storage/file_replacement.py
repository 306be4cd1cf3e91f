"""Small files that are replaced as a whole: a reader finds the old one or the new one."""

import os
from contextlib import suppress
from pathlib import Path

from draw_shared.storage.folder_sync import sync_folders


def replace_file(path: Path, writer: str, content: bytes) -> None:
    """Have a file hold this durably; each process writes under a name of its own first.

    Raises:
        OSError: the file holds what it held before, or this, which a power cut may take away.
    """
    fresh = path.with_name(f"{path.name}.{writer}.new")
    try:
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o640), "wb") as file:
            file.write(content)
            file.flush()
            # Or the new name may be there after a power cut, and the content not.
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_folders((str(path.parent),))
