"""Files of lines whose disk space is allocated beforehand, so that a full disk cannot stop them.

Lines go to a segment, named `<name>.jsonl.open` while it is written and `<name>.jsonl` once it is
complete. A segment is allocated as a whole before its first line. A reserve of allocated segments
stays on disk, even while no process runs. It is used when the disk has no space for a new segment,
and refilled with segments whose lines were handed on. A reader takes whole lines only and ignores
the zeros at the end of an allocated file. One more segment is kept for a note, which is rewritten
in place. A journal belongs to one thread at a time.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draw_shared.storage import spool
from draw_shared.storage.incoming import spool_name

SEGMENT_BYTES: Final = 512 * 1024
MAX_LINES: Final = 500
"""Lines of a segment: one message holds as many."""
RESERVE_BYTES: Final = 8 * 2**20
"""At most 8,000 lines, which is 16 segments of `MAX_LINES`."""
RESERVE_SHARE: Final = 64
"""On a small disk the reserve takes at most one in so many bytes."""
NOTE_BYTES: Final = 4096


@dataclass(slots=True)
class _Segment:
    path: str
    descriptor: int
    room: int
    filled: int = 0
    lines: int = 0


class Journal:
    """The segments of one folder, or those of them that share two suffixes.

    Args:
        open_segment: suffix of a segment while it is written.
        reserve: suffix of a segment in the reserve.
        most_reserve_bytes: size of the reserve on a disk that is large enough.
    """

    def __init__(
        self,
        folder: Path,
        *,
        open_segment: str = spool.OPEN_SEGMENT,
        reserve: str = spool.RESERVE,
        most_reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self._folder = folder
        self._open_suffix = open_segment
        self._reserve_suffix = reserve
        self._most_reserve_bytes = most_reserve_bytes
        self._segment: _Segment | None = None
        self._closed: list[str] = []
        """Complete segments that still have the name of an open one."""
        self._reserve: list[str] = []
        self._spare_note = ""
        self._note: _Segment | None = None

    @property
    def reserve_bytes(self) -> int:
        """Disk space that is allocated for further lines."""
        return len(self._reserve) * SEGMENT_BYTES

    @property
    def reserved(self) -> bool:
        """Whether the reserve is complete."""
        return bool(self._spare_note or self._note) and self.reserve_bytes >= self._wanted_bytes()

    def take_reserve(self) -> bool:
        """Adopt the reserve on disk and allocate the rest; return whether it is complete."""
        for path in spool.reserves(self._folder, self._reserve_suffix):
            size = Path(path).stat().st_size
            if size == SEGMENT_BYTES:
                self._reserve.append(path)
            elif size == NOTE_BYTES and not self._spare_note:
                self._spare_note = path
            else:
                Path(path).unlink(missing_ok=True)
        return self.fill_reserve()

    def start(self) -> None:
        """Adopt the reserve, and complete segments left by a crash."""
        self.take_reserve()
        spool.close_segments(self._folder, self._open_suffix)

    def fill_reserve(self) -> bool:
        """Allocate the rest of the reserve, if the disk has it; return whether it is complete."""
        with suppress(OSError):
            if not self._spare_note and self._note is None:
                self._spare_note = self._allocate(self._reserve_suffix, NOTE_BYTES)
            while self.reserve_bytes < self._wanted_bytes():
                self._reserve.append(self._allocate(self._reserve_suffix, SEGMENT_BYTES))
        return self.reserved

    def write(self, lines: Sequence[bytes]) -> int:
        """Write lines, and return how many were written; there was no space for the others.

        Each line must end with a line feed and fit into a segment.
        """
        done = 0
        with suppress(OSError):
            while done < len(lines):
                segment = self._segment_for(lines[done])
                fitting = _count_fitting(segment, lines, done)
                written = self._put(segment, lines[done : done + fitting])
                done += written
                if written < fitting:
                    break
        return done

    def close(self) -> None:
        """Complete the open segment."""
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(OSError):
                # Unused space is freed, unless the reserve still needs it.
                if self.reserve_bytes >= self._wanted_bytes():
                    os.ftruncate(segment.descriptor, segment.filled)
            os.close(segment.descriptor)
            self._closed.append(segment.path)
        with suppress(OSError):
            while self._closed:
                Path(self._closed[0]).rename(self._complete(self._closed[0]))
                del self._closed[0]

    def recycle(self, path: str) -> None:
        """Remove a segment whose lines were handed on, or return its space to the reserve."""
        with suppress(FileNotFoundError):
            if (
                self.reserve_bytes < self._wanted_bytes()
                and _allocated_bytes(path) >= SEGMENT_BYTES
            ):
                with suppress(OSError):
                    # Emptied before it joins the reserve: its lines must not be read again.
                    _write_over(path, bytes(SEGMENT_BYTES))
                    spare = self._name(self._reserve_suffix)
                    Path(path).rename(spare)
                    self._reserve.append(spare)
                    return
            Path(path).unlink(missing_ok=True)

    def write_note(self, line: bytes) -> bool:
        """Write a line that counts if nothing more is written; return whether it is on disk.

        It replaces the previous note.
        """
        padded = line.removesuffix(b"\n").ljust(NOTE_BYTES - 1) + b"\n"
        try:
            note = self._note or self._begin_note()
            _put_out(note.descriptor, padded, 0)
        except OSError:
            return False
        return True

    def close_note(self) -> None:
        """Complete the note as it is now."""
        self._end_note(wanted=True)

    def remove_note(self) -> None:
        """Discard the note."""
        self._end_note(wanted=False)

    def _end_note(self, *, wanted: bool) -> None:
        note, self._note = self._note, None
        if note is not None:
            os.close(note.descriptor)
            if wanted:
                self._closed.append(note.path)
                self.close()
            else:
                Path(note.path).unlink(missing_ok=True)

    def _begin_note(self) -> _Segment:
        spare, self._spare_note = self._spare_note, ""
        if not spare:
            spare = self._allocate(self._reserve_suffix, NOTE_BYTES)
        self._note = self._open(spare, NOTE_BYTES)
        return self._note

    def _segment_for(self, line: bytes) -> _Segment:
        """Return the segment for the next line; it has space for it.

        Raises:
            OSError: the disk has no space.
        """
        segment = self._segment
        if segment is not None and (
            segment.lines >= MAX_LINES or segment.filled + len(line) > segment.room
        ):
            self.close()
        if self._segment is None:
            try:
                spare = self._allocate(self._reserve_suffix, SEGMENT_BYTES)
            except OSError:
                if not self._reserve:
                    raise
                spare = self._reserve.pop()
            self._segment = self._open(spare, SEGMENT_BYTES)
        return self._segment

    def _put(self, segment: _Segment, lines: Sequence[bytes]) -> int:
        raw = b"".join(lines)
        written = _put_out_as_far_as_possible(segment.descriptor, raw, segment.filled)
        whole = raw.rfind(b"\n", 0, written) + 1
        number = raw.count(b"\n", 0, whole)
        segment.filled += whole
        segment.lines += number
        if written < len(raw):
            # A partial line must not be read; the next line goes to another segment.
            with suppress(OSError):
                os.ftruncate(segment.descriptor, segment.filled)
            self.close()
        return number

    def _open(self, spare: str, room: int) -> _Segment:
        path = self._name(self._open_suffix)
        descriptor = os.open(spare, os.O_WRONLY | os.O_CLOEXEC)
        try:
            Path(spare).rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return _Segment(path, descriptor, room)

    def _allocate(self, suffix: str, size: int) -> str:
        """Return a new file whose space is fully allocated."""
        path = self._name(suffix)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            Path(path).unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return path

    def _name(self, suffix: str) -> str:
        return f"{self._folder}/{spool_name()}{suffix}"

    def _complete(self, path: str) -> str:
        return path.removesuffix(self._open_suffix) + spool.SEGMENT

    def _wanted_bytes(self) -> int:
        """Return the size of the complete reserve, at least one segment."""
        disk = os.statvfs(self._folder)
        most = min(self._most_reserve_bytes, disk.f_blocks * disk.f_frsize // RESERVE_SHARE)
        return max(1, most // SEGMENT_BYTES) * SEGMENT_BYTES


def whole_lines(raw: bytes) -> tuple[list[bytes], bool]:
    """Return the complete lines of a segment, and whether a partial one follows."""
    *lines, rest = raw.rstrip(b"\0").split(b"\n")
    return lines, bool(rest)


def _count_fitting(segment: _Segment, lines: Sequence[bytes], first: int) -> int:
    room, number = segment.room - segment.filled, 0
    for line in lines[first : first + MAX_LINES - segment.lines]:
        room -= len(line)
        if room < 0:
            break
        number += 1
    return number


def _allocated_bytes(path: str) -> int:
    # st_blocks counts units of 512 bytes on every file system (stat(2)).
    return Path(path).stat().st_blocks * 512


def _write_over(path: str, raw: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _put_out(descriptor, raw, 0)
    finally:
        os.close(descriptor)


def _put_out(descriptor: int, raw: bytes, offset: int) -> None:
    left = memoryview(raw)
    while left:
        done = os.pwrite(descriptor, left, offset)
        left, offset = left[done:], offset + done


def _put_out_as_far_as_possible(descriptor: int, raw: bytes, offset: int) -> int:
    """Return how many bytes were written; the kernel may take fewer than it is given."""
    left = memoryview(raw)
    with suppress(OSError):
        while left:
            done = os.pwrite(descriptor, left, offset)
            left, offset = left[done:], offset + done
    return len(raw) - len(left)
