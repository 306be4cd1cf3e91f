"""One object on its way to the disk.

A small object stays in memory until it is complete and is written at once; a larger one
goes to `spool/<replica>/<name>.part` in pieces, so that memory does not grow with it. The
SHA-256 of the data set is computed on the way.
"""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

from draw_shared.dicom.part10 import FileMeta
from draw_shared.errors import Transient

SPILL_BYTES: Final = 1024 * 1024
"""An object stays in memory up to this size; a larger one goes to disk in pieces like it."""
HASH_ASIDE_BYTES: Final = 128 * 1024
"""From this size on, hashing on another core while the disk works is worth the hand-over."""
OUT_OF_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
TIME_DIGITS: Final = 15
"""Hexadecimal digits of the time in a spool name, microseconds since 1970."""

_hashers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hash")


class NoSpace(Transient):
    """The quota, the watermark or the disk is exhausted."""


def spool_name() -> str:
    """Return a name that sorts by time and is unique among all replicas."""
    return f"{time.time_ns() // 1000:0{TIME_DIGITS}x}{secrets.token_hex(8)}"


def spool_time(name: str) -> datetime:
    """Return when the object with this spool name was received.

    Raises:
        ValueError: this is not a spool name.
    """
    return datetime.fromtimestamp(int(name[:TIME_DIGITS], 16) / 1e6, UTC)


class Incoming:
    """One object on its way in."""

    def __init__(self, spool: str, meta: FileMeta) -> None:
        name = spool_name()
        self.meta = meta
        self.entry = f"{spool}/{name}.dcm"
        self.received_at = spool_time(name)
        self._part = f"{spool}/{name}.part"
        self._header = meta.encode()
        self._held = bytearray()
        self._digest = hashlib.sha256()
        self._descriptor: int | None = None
        self._written = 0

    @property
    def data_bytes(self) -> int:
        """Length of the data set so far."""
        return self._written + len(self._held)

    @property
    def file_bytes(self) -> int:
        """Size of the file so far, with its file meta group."""
        return len(self._header) + self.data_bytes

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes of the data set.

        Raises:
            NoSpace: the disk is full; nothing is left behind.
        """
        self._held += chunk
        if len(self._held) >= SPILL_BYTES:
            with self._space():
                self._spill(self._opened())

    def head(self, most: int) -> bytes:
        """Return the first bytes of the data set, at most `most`."""
        if self._descriptor is None:
            return bytes(self._held[:most])
        if most > self._written:
            with self._space():
                self._spill(self._descriptor)
        return os.pread(self._descriptor, most, len(self._header))

    def seal(self) -> str:
        """Sync the file, give it its spool name and return the SHA-256 of the data set.

        Raises:
            NoSpace: the disk is full; nothing is left behind.
        """
        with self._space():
            descriptor = self._opened()
            if len(self._held) >= HASH_ASIDE_BYTES:
                hashed = _hashers.submit(self._digest.update, self._held)
                self._flush(descriptor)
                os.fdatasync(descriptor)
                hashed.result()
            else:
                self._spill(descriptor)
                os.fdatasync(descriptor)
            os.close(descriptor)
            self._descriptor = None
            os.rename(self._part, self.entry)  # noqa: PTH104 - the receive path counts calls
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with suppress(FileNotFoundError):
            os.unlink(self._part)  # noqa: PTH108 - as above
        self._held = bytearray()

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            self._descriptor = os.open(self._part, flags, 0o640)
        return self._descriptor

    def _spill(self, descriptor: int) -> None:
        self._digest.update(self._held)
        self._flush(descriptor)

    def _flush(self, descriptor: int) -> None:
        _write_all(descriptor, b"" if self._written else self._header, self._held)
        self._written += len(self._held)
        # Not cleared: somebody may still look at it.
        self._held = bytearray()

    @contextmanager
    def _space(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abandon()
            if error.errno in OUT_OF_SPACE:
                raise NoSpace(os.strerror(error.errno)) from error
            raise


def _write_all(descriptor: int, first: bytes, rest: bytearray) -> None:
    done = os.writev(descriptor, (first, rest))
    if done == len(first) + len(rest):
        return
    left = memoryview(first + rest)[done:]
    while left:
        left = left[os.write(descriptor, left) :]
