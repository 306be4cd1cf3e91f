"""Streams stored objects in other, uncompressed transfer syntaxes (PS3.5 A.1 to A.5).

Only VRs, lengths, the byte order of numbers and the encapsulation of pixel data change; values are
copied. The sender does not parse the data set: another process walks through all of it first, so
that failures are known before anything is sent, and returns a plan. Frames are decoded one after
the other, when they are due.
"""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE
from draw_shared.dicom.transcoding.decoding import Decoding, EncodedFrame
from draw_shared.dicom.transcoding.encoding import swap_bytes
from draw_shared.dicom.transcoding.payload import MAX_HELD_BYTES, Payload
from draw_shared.dicom.transcoding.plan import ByteSource, Plan, PlannedImage
from draw_shared.dicom.transcoding.source import (
    BLOCK_BYTES,
    NotNow,
    TooCostly,
    Untranscodable,
)
from draw_shared.wording import message

MAX_BROKEN: Final = 1024


class Transcoder:
    """Converts stored objects to other transfer syntaxes; threads may share one."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._broken: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def chunks(self, path: Path, transfer_syntax_uid: str) -> Generator[bytes, None, None]:
        """Yield the data set of a Part 10 file in an uncompressed transfer syntax.

        A failure that can be known beforehand is raised before the first part. An object with a
        later frame that cannot be decoded, or one that costs too much, is remembered, and refused
        at once the next time.

        Raises:
            Untranscodable: it is impossible; the text says why.
            OSError: the file cannot be read.
        """
        with self._lock:
            reason = self._broken.get(str(path))
        if reason is not None:
            raise Untranscodable(reason)
        begun = False
        try:
            for part in self._encode(path, transfer_syntax_uid):
                begun = True
                yield part
        except NotNow:
            raise
        except Untranscodable as error:
            if begun or isinstance(error, TooCostly):
                self._remember(path, error)
            raise

    def _remember(self, path: Path, error: Untranscodable) -> None:
        with self._lock:
            self._broken[str(path)] = str(error)
            if len(self._broken) > MAX_BROKEN:
                self._broken.popitem(last=False)

    def _encode(self, path: Path, target: str) -> Iterator[bytes]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._decoding.plan(descriptor, target) as plan:
                chunks = _join_parts(_PlanExecution(self._decoding, descriptor, plan).parts())
                with closing(chunks):
                    yield from _deflate(chunks) if target == DEFLATED_LITTLE else chunks
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A stored object in another transfer syntax, ready to send."""

    transcoder: Transcoder
    path: Path
    transfer_syntax_uid: str

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield its data set; see `Transcoder.chunks`."""
        return self.transcoder.chunks(self.path, self.transfer_syntax_uid)


class _PlanExecution:
    """Executes a plan."""

    def __init__(self, decoding: Decoding, descriptor: int, plan: Plan) -> None:
        self._decoding = decoding
        self._descriptor = descriptor
        self._plan = plan

    def parts(self) -> Iterator[bytes]:
        for step in self._plan.each_step():
            if step.kind is ByteSource.READY:
                yield from _parts(self._plan.payload, step.position, step.length)
            elif step.kind is ByteSource.STORED:
                for part in self._copy_stored(step.position, step.length):
                    yield swap_bytes(part, step.vr)
            else:
                for part in self._further_frames(self._plan.images[step.position]):
                    yield swap_bytes(part, step.vr)

    def _copy_stored(self, position: int, length: int) -> Iterator[bytes]:
        end = position + length
        for at in range(position, end, BLOCK_BYTES):
            size = min(BLOCK_BYTES, end - at)
            part = os.pread(self._descriptor, size, at)
            if len(part) < size:
                raise Untranscodable(message("the data set is cut short"))
            yield part

    def _further_frames(self, planned: PlannedImage) -> Iterator[bytes]:
        """Decode as many frames at once as fit the memory limit, at least one."""
        size = planned.image.frame_bytes
        at_once = max(1, MAX_HELD_BYTES // max(1, size))
        for first in range(1, planned.frames, at_once):
            count = min(at_once, planned.frames - first)
            frames = [self._frame(planned, number) for number in range(first, first + count)]
            with self._decoding.frames(self._descriptor, planned.image, frames) as decoded:
                yield from _parts(decoded, 0, count * size)

    def _frame(self, planned: PlannedImage, number: int) -> EncodedFrame:
        payload = self._plan.payload
        begin, end = planned.begins.read(payload, number, 2)
        count = end - begin
        return EncodedFrame(
            planned.positions.read(payload, begin, count),
            planned.lengths.read(payload, begin, count),
        )


def _parts(payload: Payload, position: int, length: int) -> Iterator[bytes]:
    """Yield bytes of a payload in blocks."""
    end = position + length
    for at in range(position, end, BLOCK_BYTES):
        size = min(BLOCK_BYTES, end - at)
        part = payload.read(at, size)
        if len(part) < size:
            raise Untranscodable(message("there is less than was planned"))
        yield part


def _join_parts(parts: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Join small parts; only the last part yielded may be small."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= BLOCK_BYTES:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _deflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the deflated data set, of even length (PS3.5 A.5)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for chunk in chunks:
        part = deflater.compress(chunk)
        size += len(part)
        if part:
            yield part
    last = deflater.flush()
    size += len(last)
    yield last + b"\0" * (size % 2)
