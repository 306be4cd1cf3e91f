"""Writes answers in parts (PS3.18 8.6.1, RFC 2387)."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from draw_dicomweb.services.media_types import MULTIPART

CRLF: Final = b"\r\n"


class MultipartWriter:
    """One answer in parts; the boundary is random, so that no data contains it."""

    def __init__(self, media_type: str) -> None:
        self._boundary = secrets.token_hex(16)
        self.media_type = f'{MULTIPART}; type="{media_type}"; boundary={self._boundary}'

    def begin(self, headers: Mapping[str, str]) -> bytes:
        """Return what comes before the content of a part."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"\r\n--{self._boundary}\r\n{lines}\r\n".encode("latin-1", "replace")

    def end(self) -> bytes:
        """Return what comes after the last part."""
        return f"\r\n--{self._boundary}--\r\n".encode()

    def stream(self, parts: Iterable[tuple[Mapping[str, str], Iterable[bytes]]]) -> Iterator[bytes]:
        """Yield a whole answer."""
        for headers, content in parts:
            yield self.begin(headers)
            yield from content
        yield self.end()
