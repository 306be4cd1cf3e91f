"""Files of lines whose room is taken before the lines are: a full disk finds them prepared.

Lines go to a segment, `<name>.jsonl.open` while it is written and `<name>.jsonl` once it is
complete. Each segment is allocated as a whole before its first line. Some more lie allocated in
reserve, also while nobody runs; they are used when the disk gives no new one, and go back to
the reserve when what they held was handed on. A reader takes whole lines only, and nothing of
the zeros that an allocated file ends with. One segment more is kept for a note, which is written
over and over in its place. Belongs to one thread at a time.
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
"""Lines of a segment: what one message holds."""
RESERVE_BYTES: Final = 8 * 2**20
"""At most 8,000 lines, which is 16 segments of `MAX_LINES`."""
RESERVE_SHARE: Final = 64
"""On a small disk the reserve is no larger than this part of it."""
NOTE_BYTES: Final = 4096


@dataclass(slots=True)
class _Segment:
    path: str
    descriptor: int
    room: int
    filled: int = 0
    lines: int = 0


class Journal:
    """The segments of one folder, or of those that are named alike there.

    Args:
        open_segment: suffix of a segment while it is written.
        reserve: suffix of what lies in reserve.
        most_reserve_bytes: how large the reserve is on a disk that is large enough.
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
        """Segments whose name does not say yet that they are complete."""
        self._reserve: list[str] = []
        self._spare_note = ""
        self._note: _Segment | None = None

    @property
    def reserve_bytes(self) -> int:
        """Room that is allocated for lines to come."""
        return len(self._reserve) * SEGMENT_BYTES

    @property
    def reserved(self) -> bool:
        """Whether the reserve is complete."""
        return bool(self._spare_note or self._note) and self.reserve_bytes >= self._wanted()

    def take_reserve(self) -> bool:
        """Take the room that lies in reserve and what is missing of it; return whether all is."""
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
        """Take the reserve, and complete what a crash left."""
        self.take_reserve()
        spool.close_segments(self._folder, self._open_suffix)

    def fill_reserve(self) -> bool:
        """Take what is missing of the reserve, as far as the disk has it; return whether all is."""
        with suppress(OSError):
            if not self._spare_note and self._note is None:
                self._spare_note = self._allocated(self._reserve_suffix, NOTE_BYTES)
            while self.reserve_bytes < self._wanted():
                self._reserve.append(self._allocated(self._reserve_suffix, SEGMENT_BYTES))
        return self.reserved

    def write(self, lines: Sequence[bytes]) -> int:
        """Write lines, and return how many; the others found no room.

        Each line ends with a line feed and fits into a segment.
        """
        done = 0
        with suppress(OSError):
            while done < len(lines):
                segment = self._segment_for(lines[done])
                fitting = _fitting(segment, lines, done)
                written = self._put(segment, lines[done : done + fitting])
                done += written
                if written < fitting:
                    break
        return done

    def close(self) -> None:
        """Complete the segment that is written."""
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(OSError):
                # Room that is not needed goes back, unless it is to be kept for the next lines.
                if self.reserve_bytes >= self._wanted():
                    os.ftruncate(segment.descriptor, segment.filled)
            os.close(segment.descriptor)
            self._closed.append(segment.path)
        with suppress(OSError):
            while self._closed:
                Path(self._closed[0]).rename(self._complete(self._closed[0]))
                del self._closed[0]

    def recycle(self, path: str) -> None:
        """Remove a complete segment that is handed on; its room may go to the reserve."""
        with suppress(FileNotFoundError):
            if self.reserve_bytes < self._wanted() and _allocated_bytes(path) >= SEGMENT_BYTES:
                with suppress(OSError):
                    # Empty before it is in reserve: what it held must not be read again.
                    _write_over(path, bytes(SEGMENT_BYTES))
                    spare = self._name(self._reserve_suffix)
                    Path(path).rename(spare)
                    self._reserve.append(spare)
                    return
            Path(path).unlink(missing_ok=True)

    def write_note(self, line: bytes) -> bool:
        """Have this line read if nothing is written any more; return whether it will be.

        It takes the place of the note before.
        """
        padded = line.removesuffix(b"\n").ljust(NOTE_BYTES - 1) + b"\n"
        try:
            note = self._note or self._begin_note()
            _put_out(note.descriptor, padded, 0)
        except OSError:
            return False
        return True

    def close_note(self) -> None:
        """Have the note read as it is now."""
        self._end_note(wanted=True)

    def remove_note(self) -> None:
        """Take the note back."""
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
            spare = self._allocated(self._reserve_suffix, NOTE_BYTES)
        self._note = self._opened(spare, NOTE_BYTES)
        return self._note

    def _segment_for(self, line: bytes) -> _Segment:
        """Return where the next line goes; it has room for it.

        Raises:
            OSError: there is no room.
        """
        segment = self._segment
        if segment is not None and (
            segment.lines >= MAX_LINES or segment.filled + len(line) > segment.room
        ):
            self.close()
        if self._segment is None:
            try:
                spare = self._allocated(self._reserve_suffix, SEGMENT_BYTES)
            except OSError:
                if not self._reserve:
                    raise
                spare = self._reserve.pop()
            self._segment = self._opened(spare, SEGMENT_BYTES)
        return self._segment

    def _put(self, segment: _Segment, lines: Sequence[bytes]) -> int:
        raw = b"".join(lines)
        written = _put_out_as_far_as_possible(segment.descriptor, raw, segment.filled)
        whole = raw.rfind(b"\n", 0, written) + 1
        number = raw.count(b"\n", 0, whole)
        segment.filled += whole
        segment.lines += number
        if written < len(raw):
            # A line that was only begun must not be found; what comes next begins elsewhere.
            with suppress(OSError):
                os.ftruncate(segment.descriptor, segment.filled)
            self.close()
        return number

    def _opened(self, spare: str, room: int) -> _Segment:
        path = self._name(self._open_suffix)
        descriptor = os.open(spare, os.O_WRONLY | os.O_CLOEXEC)
        try:
            Path(spare).rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return _Segment(path, descriptor, room)

    def _allocated(self, suffix: str, size: int) -> str:
        """Return a new file that has all of its room."""
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

    def _wanted(self) -> int:
        """Return how large the reserve is when it is complete, at least one segment."""
        disk = os.statvfs(self._folder)
        most = min(self._most_reserve_bytes, disk.f_blocks * disk.f_frsize // RESERVE_SHARE)
        return max(1, most // SEGMENT_BYTES) * SEGMENT_BYTES


def whole_lines(raw: bytes) -> tuple[list[bytes], bool]:
    """Return the lines of a segment, and whether one more was only begun."""
    *lines, rest = raw.rstrip(b"\0").split(b"\n")
    return lines, bool(rest)


def _fitting(segment: _Segment, lines: Sequence[bytes], first: int) -> int:
    room, number = segment.room - segment.filled, 0
    for line in lines[first : first + MAX_LINES - segment.lines]:
        room -= len(line)
        if room < 0:
            break
        number += 1
    return number


def _allocated_bytes(path: str) -> int:
    # st_blocks counts 512 bytes, whatever the file system's blocks are (stat(2)).
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
    """Return how many bytes the disk has taken; the kernel may take fewer at a time than given."""
    left = memoryview(raw)
    with suppress(OSError):
        while left:
            done = os.pwrite(descriptor, left, offset)
            left, offset = left[done:], offset + done
    return len(raw) - len(left)
