"""One object while it is being received.

A small object stays in memory until it is complete and is then written with one call. A larger
one is written to `spool/<replica>/<name>.part` in pieces, so memory does not grow with it. The
SHA-256 of the data set is computed on the way.
"""

import errno
import hashlib
import itertools
import os
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NoReturn

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.errors import Transient
from draw_shared.storage.direct_file import DirectFile

HELD_BYTES: Final = 128 * 1024
"""Up to this size, memory and the page cache are cheaper than direct writes."""
OUT_OF_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
TIME_DIGITS: Final = 15
"""Hexadecimal digits of the time in a spool name, in microseconds since 1970."""
RECEIVED_KEY: Final = "received"
"""Provenance key: when the object was received, in microseconds since 1970."""
COUNTED: Final = 0x10000

WRITER: Final = secrets.token_hex(6)
"""Part of the names of all files that this process creates in the spool folder."""

_counter = itertools.count()


class NoSpace(Transient):
    """The quota, the watermark or the disk is exhausted."""


def spool_name() -> str:
    """Return a name that sorts by time and is unique among all replicas."""
    # Random once per process, then counted, to save a system call for each object.
    return f"{time.time_ns() // 1000:0{TIME_DIGITS}x}{WRITER}{next(_counter) % COUNTED:04x}"


def spool_time(name: str) -> datetime:
    """Return when the object with this spool name was received.

    Raises:
        ValueError: this is not a spool name.
    """
    return received_time(int(name[:TIME_DIGITS], 16))


def received_time(microseconds: int) -> datetime:
    """Return the time that is given in microseconds since 1970."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


class Incoming:
    """One object while it is being received."""

    def __init__(self, spool: str, meta: FileMeta) -> None:
        name = spool_name()
        # The file contains its time of reception, so it alone suffices to rebuild the index.
        microseconds = int(name[:TIME_DIGITS], 16)
        provenance = {**meta.provenance, RECEIVED_KEY: microseconds}
        self.meta = meta = meta._replace(provenance=provenance)
        self.entry = f"{spool}/{name}.dcm"
        self.received_at = received_time(microseconds)
        self._part = f"{spool}/{name}.part"
        self._header = meta.encode()
        self._held = bytearray()
        self._digest: hashlib._Hash | None = None
        self._file: DirectFile | None = None

    @property
    def data_bytes(self) -> int:
        """Length of the data set so far."""
        return self.file_bytes - len(self._header)

    @property
    def file_bytes(self) -> int:
        """Size of the file so far, including its file meta group."""
        if self._file is not None:
            return self._file.size
        return len(self._header) + len(self._held)

    @property
    def written_bytes(self) -> int:
        """Length of the part already written to disk."""
        return self._file.written if self._file is not None else 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Append bytes to the data set.

        Raises:
            NoSpace: the disk is full; nothing is left behind.
        """
        if self._file is None:
            if len(self._held) + len(chunk) <= HELD_BYTES:
                self._held += chunk
                return
            self._begin_file()
        try:
            self._required_file.write(chunk)
        except OSError as error:
            self._fail(error)

    def head(self, most: int) -> bytes:
        """Return the first bytes of the data set, at most `most`."""
        if self._file is None:
            return bytes(memoryview(self._held)[:most])
        begin = len(self._header)
        return self._file.read(begin, begin + most)

    def seal(self) -> str:
        """Sync the file, give it its spool name and return the SHA-256 of the data set.

        Raises:
            NoSpace: the disk is full; nothing is left behind.
        """
        digest = self._digest or hashlib.sha256(self._held)
        try:
            if self._file is not None:
                self._file.finish()
            else:
                self._write_held()
            os.rename(self._part, self.entry)  # noqa: PTH104 - the receive path counts calls
        except OSError as error:
            self._fail(error)
        return digest.hexdigest()

    def abandon(self) -> None:
        """Give the object up and remove its file."""
        if self._file is not None:
            self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._part)  # noqa: PTH108 - as above
        self._held = bytearray()

    @property
    def _required_file(self) -> DirectFile:
        if self._file is None:
            raise RuntimeError("the object is still held in memory")
        return self._file

    def _begin_file(self) -> None:
        self._digest = hashlib.sha256()
        try:
            self._file = DirectFile(self._part, self._header, self._digest)
            self._file.write(self._held)
        except OSError as error:
            self._fail(error)
        self._held = bytearray()

    def _write_held(self) -> None:
        # O_DSYNC: the write returns when the data is on stable storage, without fdatasync.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC
        descriptor = os.open(self._part, flags, 0o640)
        try:
            _write_all(descriptor, self._header, self._held)
        finally:
            os.close(descriptor)

    def _fail(self, error: OSError) -> NoReturn:
        self.abandon()
        if error.errno in OUT_OF_SPACE:
            raise NoSpace(os.strerror(error.errno)) from error
        raise error


def _write_all(descriptor: int, first: bytes, rest: bytearray) -> None:
    done = os.writev(descriptor, (first, rest))
    if done == len(first) + len(rest):
        return
    left = memoryview(first + rest)[done:]
    while left:
        left = left[os.write(descriptor, left) :]
