"""The key with which messages say where objects lie (`draw_shared.storage.places`).

It lies on the storage volume, whose folders say the same in plain words, and goes along with
copies of the volume. It is made at the first start: a full disk has no room for it later.
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
"""Two keys of AES-256, as SIV needs (RFC 5297)."""


class PlaceKeyDamaged(Permanent):
    """What should be the key is none; nothing can be announced with it."""


class PlaceKey:
    """The key of one storage volume."""

    def __init__(self, root: Path) -> None:
        self._file = root / layout.PLACE_KEY

    def read(self) -> bytes:
        """Return the key.

        Raises:
            OSError: there is none, or it cannot be read.
            PlaceKeyDamaged: it is none.
        """
        raw = self._file.read_bytes()
        if len(raw) != KEY_BYTES:
            raise PlaceKeyDamaged(f"{self._file.name} on the storage volume is no key: remove it")
        return raw

    def make(self) -> None:
        """Have a key on stable storage; of several who make one, the first is right.

        Raises:
            OSError: there is none.
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
