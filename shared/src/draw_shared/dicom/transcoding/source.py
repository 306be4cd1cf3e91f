"""Reads a data set from beginning to end, with one block of it in memory."""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from typing_extensions import override

from draw_shared.dicom.encoding.data_set import make_inflater
from draw_shared.dicom.encoding.element_forms import HEADER_BYTES
from draw_shared.errors import Permanent
from draw_shared.wording import message

BLOCK_BYTES: Final = 256 * 1024
"""Size of a block, a multiple of the width of every number."""
MAX_NUMBER_BYTES: Final = 8
DEFLATED_BYTES: Final = 64 * 1024


class Untranscodable(Permanent):
    """The object cannot be had in this transfer syntax; the text says why."""


class TooCostly(Untranscodable):
    """The object takes more memory or processor time than allowed."""


class NotNow(Untranscodable):
    """The object may be had at another time."""


class DataSetSource(ABC):
    """A data set as a stream."""

    def __init__(self) -> None:
        self._held = b""
        self._at = 0
        self._begin = 0

    @property
    def position(self) -> int:
        """Bytes of the data set that have been passed."""
        return self._begin + self._at

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Length of the data set, bytes; None if it is unknown until the end."""

    @property
    def place(self) -> int | None:
        """Position of the next byte in the file; None if the file does not contain it as it is."""
        return None

    def ahead(self, size: int) -> bytes:
        """Return the next `size` bytes without passing them; fewer only at the end."""
        if len(self._held) - self._at < size:
            self._fill(size)
        return self._held[self._at : self._at + size]

    def skip_to(self, position: int) -> None:
        """Pass everything up to a later position.

        Raises:
            Untranscodable: the data set ends before.
        """
        self._at = position - self._begin
        if self._at > len(self._held):
            self._leap(position)

    def parts(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes; the length of all parts but the last is a multiple of 8.

        Raises:
            Untranscodable: the data set ends before.
        """
        while size:
            held = len(self._held) - self._at
            taken = size if held >= size else held - held % MAX_NUMBER_BYTES
            if taken:
                part = self._held[self._at : self._at + taken]
                self._at += taken
                size -= taken
                yield part
            else:
                self._fill(min(size, BLOCK_BYTES))
                if len(self._held) < min(size, MAX_NUMBER_BYTES):
                    raise Untranscodable(message("the data set is cut short"))

    def _fill(self, size: int) -> None:
        """Hold at least `size` of the next bytes, if there are so many."""
        held = self._held[self._at :]
        self._begin += self._at
        self._at = 0
        while len(held) < size:
            more = self._more(self._begin + len(held), max(size, BLOCK_BYTES) - len(held))
            if not more:
                break
            held = held + more if held else more
        self._held = held

    @abstractmethod
    def _more(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes from a position right after the last read."""

    @abstractmethod
    def _leap(self, position: int) -> None:
        """Continue at a position after the held bytes."""


class FileSource(DataSetSource):
    """A data set that a file contains unchanged."""

    def __init__(self, descriptor: int, offset: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._offset = offset
        self._size = max(0, os.fstat(descriptor).st_size - offset)

    @property
    @override
    def size(self) -> int:
        return self._size

    @property
    @override
    def place(self) -> int:
        return self._offset + self.position

    @override
    def _more(self, position: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, self._offset + position)

    @override
    def _leap(self, position: int) -> None:
        if position > self._size:
            raise Untranscodable(message("the data set is cut short"))
        self._begin, self._at, self._held = position, 0, b""


class InflatedSource(DataSetSource):
    """A deflated data set that is inflated while it is read (PS3.5 A.5).

    Args:
        longest: largest inflated length, bytes.
    """

    def __init__(self, descriptor: int, offset: int, longest: int) -> None:
        super().__init__()
        self._longest = longest
        self._descriptor = descriptor
        self._next = offset
        self._inflater = make_inflater(os.pread(descriptor, HEADER_BYTES, offset))

    @property
    @override
    def size(self) -> None:
        return None

    @override
    def _more(self, position: int, size: int) -> bytes:
        if position > self._longest:
            raise Untranscodable(
                message("the data set becomes longer than %(longest)s bytes", longest=self._longest)
            )
        inflater = self._inflater
        while not inflater.eof:
            deflated = inflater.unconsumed_tail
            if not deflated:
                deflated = os.pread(self._descriptor, DEFLATED_BYTES, self._next)
                self._next += len(deflated)
            try:
                inflated = inflater.decompress(deflated, size)
            except zlib.error as broken:
                raise Untranscodable(message("the deflated data set is damaged")) from broken
            if inflated:
                return inflated
            if not deflated:
                raise Untranscodable(message("the deflated data set is cut short"))
        return b""

    @override
    def _leap(self, position: int) -> None:
        left = position - self._begin - len(self._held)
        self._at = len(self._held)
        for _ in self.parts(left):
            pass
