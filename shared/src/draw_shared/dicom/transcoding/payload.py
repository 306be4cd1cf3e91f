"""Bytes passed from one process to another: in memory if they are few, otherwise in a file.

The file has no name, and disappears when its last holder closes it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Self

MAX_HELD_BYTES: Final = 1024 * 1024
"""Payloads up to this size stay in memory."""
PART: Final = ".part"
"""Suffix of a file that has a name for a moment, on file systems without nameless files."""


class Payload:
    """Finished bytes; their holder must close them.

    Args:
        held: the bytes; empty if they are in a file.
        descriptor: the descriptor of that file.
        gone: called with their number when they are closed.
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
        """All bytes, if they are in memory."""
        return self._held

    @property
    def descriptor(self) -> int | None:
        """The descriptor of their file, if they are in one."""
        return self._descriptor

    def read(self, position: int, size: int) -> bytes:
        """Return bytes from a position; fewer only at the end."""
        if self._descriptor is None:
            return self._held[position : position + size]
        return os.pread(self._descriptor, size, position)

    def close(self) -> None:
        """Release the bytes."""
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
    """A payload under construction.

    Args:
        room: folder for a file without a name.
    """

    def __init__(self, room: Path) -> None:
        self._room = room
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, part: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: there is no space.
        """
        self.size += len(part)
        if len(self._held) + len(part) <= MAX_HELD_BYTES:
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
        """Return the finished payload."""
        if self._file is None:
            return Payload(bytes(self._held))
        self._put(self._held)
        return Payload(descriptor=os.dup(self._file.fileno()))

    def close(self) -> None:
        """Release the bytes; a payload that `finish` returned stays valid."""
        self._held.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
