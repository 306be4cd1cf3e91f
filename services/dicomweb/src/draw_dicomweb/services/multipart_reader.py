"""Reads bodies in parts as they arrive (RFC 2046 5.1.1, RFC 2387).

A reader gets the body in pieces of any size and returns what they complete. It holds no more than
the headers of one part and what may be the beginning of a boundary. A boundary counts only where a
line has nothing else: data may contain its text.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from draw_shared.errors import Permanent
from draw_shared.wording import message

MAX_BOUNDARY_CHARACTERS: Final = 200
"""RFC 2046 allows 70; some clients do not know."""
MAX_PREAMBLE_BYTES: Final = 64 * 1024
MAX_EPILOGUE_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 64
MAX_PADDING_BYTES: Final = 256
"""Spaces after a boundary."""

_BOUNDARY: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FOLD: Final = re.compile(r"\r\n[ \t]+")
_PADDING: Final = b" \t"
_LINE_END: Final = b"\r\n"


class Malformed(Permanent):
    """A body does not have the form that its media type promises; nothing after it is read."""


class PartBegun(NamedTuple):
    """A part begins; names of headers are in lower case."""

    headers: Mapping[str, str]


class PartEnded(NamedTuple):
    """The part is complete."""


Event = PartBegun | PartEnded | bytes
"""What was read: where a part begins and ends, and in between its content in pieces."""


class BodyReader(Protocol):
    """Takes a body apart."""

    @property
    def ended(self) -> bool:
        """Whether nothing of interest can follow."""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what a further piece of the body completes.

        Raises:
            Malformed: the body is none in parts.
        """

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the body completes.

        Raises:
            Malformed: it ends too early.
        """


class SinglePartReader:
    """A body that is one part without headers of its own."""

    ended = False

    def __init__(self) -> None:
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the content."""
        if chunk and not self._begun:
            self._begun = True
            yield PartBegun({})
        if chunk:
            yield chunk

    def finish(self) -> Iterator[Event]:
        """Yield the end; an empty body has no part."""
        if self._begun:
            yield PartEnded()


class _Place(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()


class _Line(Enum):
    """What stands behind the text of a boundary."""

    NEXT = auto()
    CLOSE = auto()
    DATA = auto()
    UNKNOWN = auto()


class MultipartReader:
    """A body of several parts.

    Raises:
        Malformed: this can be no boundary.
    """

    def __init__(self, boundary: str) -> None:
        if len(boundary) > MAX_BOUNDARY_CHARACTERS or not _BOUNDARY.fullmatch(boundary):
            raise Malformed(message("The boundary of the parts is missing or malformed."))
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first boundary has a line of its own, too, but none before it.
        self._held = bytearray(_LINE_END)
        self._skipped = 0
        """How much of what is held is no content: the end of the line before."""
        self._place = _Place.PREAMBLE
        self._passed = 0
        """Length of the preamble or epilogue so far."""

    @property
    def ended(self) -> bool:
        """Whether the last boundary was there and more than enough behind it."""
        return self._place is _Place.EPILOGUE and self._passed > MAX_EPILOGUE_BYTES

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what a further piece of the body completes.

        Raises:
            Malformed: the body is none in parts.
        """
        if self._place is _Place.EPILOGUE:
            self._passed += len(chunk)
            return
        self._held += chunk
        yield from self._read(last=False)

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the body completes.

        Raises:
            Malformed: the last boundary is missing.
        """
        yield from self._read(last=True)
        if self._place is not _Place.EPILOGUE:
            raise Malformed(message("The body ends before its last boundary."))

    def _read(self, *, last: bool) -> Iterator[Event]:
        while self._place is not _Place.EPILOGUE:
            if self._place is _Place.HEADERS:
                headers = self._headers()
                if headers is None:
                    return
                yield PartBegun(headers)
                continue
            at = self._held.find(self._delimiter)
            if at < 0:
                yield from self._content(len(self._held) - len(self._delimiter) + 1)
                return
            line, end = self._line_at(at + len(self._delimiter), last=last)
            yield from self._content(end if line is _Line.DATA else at)
            if line is _Line.UNKNOWN:
                return
            if line is not _Line.DATA:
                yield from self._pass_boundary(line, end - at)

    def _line_at(self, at: int, *, last: bool) -> tuple[_Line, int]:
        """Return what stands behind the text of a boundary, and where that ends."""
        closes = self._held[at : at + 2] == b"--"
        end = at + 2 if closes else at
        most = end + MAX_PADDING_BYTES
        while end < min(most, len(self._held)) and self._held[end] in _PADDING:
            end += 1
        rest = bytes(self._held[end : end + 2])
        if rest == _LINE_END:
            return (_Line.CLOSE if closes else _Line.NEXT), end + (0 if closes else 2)
        if closes and last and not rest:
            return _Line.CLOSE, end
        # Also a single hyphen may become two.
        open_ended = rest in {b"", b"\r"} or (rest == b"-" and not closes and end == at)
        if open_ended and end < most and not last:
            return _Line.UNKNOWN, end
        return _Line.DATA, at

    def _pass_boundary(self, line: _Line, length: int) -> Iterator[Event]:
        if self._place is _Place.CONTENT:
            yield PartEnded()
        del self._held[:length]
        self._skipped = self._passed = 0
        if line is _Line.NEXT:
            self._place = _Place.HEADERS
        else:
            self._place = _Place.EPILOGUE
            self._passed = len(self._held)
            self._held.clear()

    def _content(self, length: int) -> Iterator[bytes]:
        """Yield so much of what is held, and forget it."""
        if length <= 0:
            return
        if self._place is _Place.PREAMBLE:
            self._passed += length
            if self._passed > MAX_PREAMBLE_BYTES:
                raise Malformed(message("The body does not have the boundary of its parts."))
        elif length > self._skipped:
            with memoryview(self._held) as held:
                content = bytes(held[self._skipped : length])
            yield content
        del self._held[:length]
        self._skipped = max(0, self._skipped - length)

    def _headers(self) -> Mapping[str, str] | None:
        """Return the headers of a part once they are complete."""
        if self._held.startswith(_LINE_END):
            end = 0
        else:
            end = self._held.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
            if end < 0:
                if len(self._held) >= MAX_HEADER_BYTES:
                    raise Malformed(message("The headers of a part are too long."))
                return None
            end += 2
        headers = _headers_in(bytes(self._held[:end]))
        # The empty line stays: a boundary may follow at once, and then it is that line's end.
        del self._held[:end]
        self._skipped = len(_LINE_END)
        self._place = _Place.CONTENT
        return headers


def _headers_in(block: bytes) -> Mapping[str, str]:
    lines = _FOLD.sub(" ", block.decode("latin-1")).split("\r\n")[:-1]
    if len(lines) > MAX_HEADERS:
        raise Malformed(message("A part has too many headers."))
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name.rstrip(" \t")) or _CONTROL.search(value):
            raise Malformed(message("The headers of a part are malformed."))
        found.setdefault(name.rstrip(" \t").lower(), value.strip(" \t"))
    return found
