"""The key that seals the paths of objects in messages (`draw_shared.storage.places`).

It lies on the storage volume, whose folders show the same paths in clear, so copies of the
volume include it. It is created at the first start: a full disk would have no room for it later.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from draw_shared.errors import Permanent
from draw_shared.storage import layout
from draw_shared.storage.folder_sync import sync_folders

KEY_BYTES: Final = 64
"""Two AES-256 keys, as SIV needs (RFC 5297)."""


class PlaceKeyDamaged(Permanent):
    """The key file does not contain a key, so nothing can be announced."""


class PlaceKey:
    """The key of one storage volume."""

    def __init__(self, root: Path) -> None:
        self._file = root / layout.PLACE_KEY

    def read(self) -> bytes:
        """Return the key.

        Raises:
            OSError: the key is missing or cannot be read.
            PlaceKeyDamaged: the file does not contain a key.
        """
        raw = self._file.read_bytes()
        if len(raw) != KEY_BYTES:
            raise PlaceKeyDamaged(f"{self._file.name} on the storage volume is no key: remove it")
        return raw

    def make(self) -> None:
        """Create the key durably unless it exists; the first of several processes wins.

        Raises:
            OSError: there is no key.
        """
        if self._file.exists():
            return
        part = self._file.with_name(f"{self._file.name}.{secrets.token_hex(6)}")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC
        try:
            descriptor = os.open(part, flags, 0o640)
            try:
                os.write(descriptor, secrets.token_bytes(KEY_BYTES))
            finally:
                os.close(descriptor)
            with suppress(FileExistsError):
                os.link(part, self._file)
        finally:
            part.unlink(missing_ok=True)
        sync_folders((str(self._file.parent),))
