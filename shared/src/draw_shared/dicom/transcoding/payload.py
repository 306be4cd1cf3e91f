"""Bytes that one process makes and another takes: in memory while they are few, else in a file.

The file has no name, and is gone when the last who holds it lets go of it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Self

HELD_BYTES: Final = 1024 * 1024
"""Up to this size they stay in memory."""
PART: Final = ".part"
"""Ending of a file that has a name for a moment, where the file system has none without."""


class Payload:
    """Bytes that are ready; whoever has it closes it.

    Args:
        held: the bytes, or none when they lie in a file.
        descriptor: of that file.
        gone: called once they are let go of, with their number.
    """

    def __init__(
        self,
        held: bytes = b"",
        descriptor: int | None = None,
        gone: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._held = held
        self._descriptor = descriptor
        self._gone = gone
        self.size = len(held) if descriptor is None else os.fstat(descriptor).st_size

    @property
    def held(self) -> bytes:
        """All of them if they are in memory."""
        return self._held

    @property
    def descriptor(self) -> int | None:
        """Of their file, if they lie in one."""
        return self._descriptor

    def read(self, position: int, size: int) -> bytes:
        """Return some of them, fewer only at their end."""
        if self._descriptor is None:
            return self._held[position : position + size]
        return os.pread(self._descriptor, size, position)

    def close(self) -> None:
        """Let go of them."""
        self._held = b""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._gone(self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PayloadWriter:
    """Bytes that are being made.

    Args:
        room: folder for a file without a name.
    """

    def __init__(self, room: Path) -> None:
        self._room = room
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, part: bytes) -> None:
        """Add some.

        Raises:
            OSError: there is no room.
        """
        self.size += len(part)
        if len(self._held) + len(part) <= HELD_BYTES:
            self._held += part
        else:
            held, self._held = self._held, bytearray()
            for one in (held, part):
                self._put(one)

    def _put(self, part: bytes | bytearray) -> None:
        if self._file is None:
            self._file = TemporaryFile(buffering=0, dir=self._room, suffix=PART)  # noqa: SIM115 - closed by `close`
        done = 0
        with memoryview(part) as whole:
            while done < len(whole):
                done += self._file.write(whole[done:])

    def finish(self) -> Payload:
        """Return what was made."""
        if self._file is None:
            return Payload(bytes(self._held))
        self._put(self._held)
        return Payload(descriptor=os.dup(self._file.fileno()))

    def close(self) -> None:
        """Let go of what was made; what `finish` returned stays."""
        self._held.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
