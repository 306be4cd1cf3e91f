"""Stored objects in other, uncompressed transfer syntaxes, as streams (PS3.5 A.1 to A.5).

Only VRs, lengths, the byte order of numbers and the encapsulation of pixel data change: values
are copied, whatever they are. A file is walked twice: first to its end without its values, so
that what cannot be had is said before anything is sent; then for the bytes. Memory holds a
block of the file, and of encapsulated pixel data a frame.
"""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from draw_shared.dicom import part10
from draw_shared.dicom.data_set import is_deflated
from draw_shared.dicom.transcoding.encoding import AsWritten, as_written, encoding_of
from draw_shared.dicom.transcoding.pixels import NativePixels, StoredPixels
from draw_shared.dicom.transcoding.rewriting import Rewriting
from draw_shared.dicom.transcoding.source import (
    FileSource,
    InflatedSource,
    Source,
    Untranscodable,
)
from draw_shared.dicom.transcoding.survey import Facts, Survey, surveyed
from draw_shared.dicom.uids import DEFLATED_LITTLE, UNCOMPRESSED
from draw_shared.dicom.walk import Undecodable

MOST_PICTURES: Final = 64
"""Encapsulated images in one object: its own and its icons'."""
MOST_BROKEN: Final = 1024
LOOKED_AT_BYTES: Final = 64 * 1024
"""Of a data set, to tell how it is encoded."""
NATIVE: Final = frozenset((*UNCOMPRESSED, DEFLATED_LITTLE))
"""Transfer syntaxes that do not encapsulate pixel data."""
JPIP_SYNTAXES: Final = frozenset(
    (
        "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205",
    )
)  # fmt: skip
"""Their pixel data lie elsewhere (PS3.5 A.6)."""


class Transcoder:
    """Reads stored objects in other transfer syntaxes; threads may share one.

    Args:
        longest_frame: most bytes that a frame of encapsulated pixel data may have, decoded.
        room: folder in which decoded frames lie, without a name, while they are sent.
    """

    def __init__(self, longest_frame: int, room: Path) -> None:
        self._longest_frame = longest_frame
        self._room = room
        self._broken: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def chunks(self, path: Path, transfer_syntax_uid: str) -> Generator[bytes, None, None]:
        """Yield the data set of a Part 10 file in an uncompressed transfer syntax.

        Whatever can be known before is raised instead of the first part. A frame that cannot
        be decoded later is remembered: the object is refused at once the next time.

        Raises:
            Untranscodable: it cannot be had; the text says why.
            OSError: the file cannot be read.
        """
        with self._lock:
            reason = self._broken.get(str(path))
        if reason is not None:
            raise Untranscodable(reason)
        begun = False
        try:
            for part in self._encoded(path, transfer_syntax_uid):
                begun = True
                yield part
        except Untranscodable as error:
            if begun:
                self._remember(path, error)
            raise

    def _remember(self, path: Path, error: Untranscodable) -> None:
        with self._lock:
            self._broken[str(path)] = str(error)
            if len(self._broken) > MOST_BROKEN:
                self._broken.popitem(last=False)

    def _encoded(self, path: Path, target: str) -> Iterator[bytes]:
        with ExitStack() as held:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            stored = _stored(descriptor)
            syntax = stored.transfer_syntax_uid
            survey = surveyed(
                stored.source(),
                stored.written,
                encoding_of(target),
                compressed=syntax not in NATIVE,
            )
            pictures = {
                start: held.enter_context(
                    NativePixels(
                        StoredPixels(descriptor, stored.offset, facts, syntax),
                        self._longest_frame,
                        self._room,
                    )
                )
                for start, facts in _encapsulated(survey, syntax)
            }
            rewriting = Rewriting(
                stored.source(), stored.written, encoding_of(target), survey, pictures
            )
            chunks = rewriting.chunks()
            yield from _deflated(chunks) if target == DEFLATED_LITTLE else chunks


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A stored object as it is sent in another transfer syntax."""

    transcoder: Transcoder
    path: Path
    transfer_syntax_uid: str

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield its data set; see `Transcoder.chunks`."""
        return self.transcoder.chunks(self.path, self.transfer_syntax_uid)


class _Stored(NamedTuple):
    """An object in its file."""

    descriptor: int
    offset: int
    """Where its data set begins."""
    transfer_syntax_uid: str
    deflated: bool
    written: AsWritten

    def source(self) -> Source:
        """Return its data set, at the beginning."""
        return _source(self.descriptor, self.offset, deflated=self.deflated)


def _stored(descriptor: int) -> _Stored:
    head = os.pread(descriptor, part10.LONGEST_META, 0)
    try:
        meta, offset = part10.decode(head)
    except Undecodable as error:
        raise Untranscodable(str(error)) from error
    syntax = meta.transfer_syntax_uid
    if not syntax:
        raise Untranscodable("the file does not say its transfer syntax")
    if syntax in JPIP_SYNTAXES:
        raise Untranscodable("the pixel data lie elsewhere")
    deflated = is_deflated(os.pread(descriptor, LOOKED_AT_BYTES, offset), syntax)
    beginning = _source(descriptor, offset, deflated=deflated).ahead(LOOKED_AT_BYTES)
    return _Stored(descriptor, offset, syntax, deflated, as_written(beginning, syntax))


def _source(descriptor: int, offset: int, *, deflated: bool) -> Source:
    return (InflatedSource if deflated else FileSource)(descriptor, offset)


def _encapsulated(survey: Survey, stored: str) -> Iterator[tuple[int, Facts]]:
    found = [(start, facts) for start, facts in survey.facts.items() if facts.pixels is not None]
    if found and stored in NATIVE:
        raise Untranscodable("encapsulated pixel data in a transfer syntax without")
    if len(found) > MOST_PICTURES:
        raise Untranscodable("too many encapsulated images")
    yield from found


def _deflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
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
