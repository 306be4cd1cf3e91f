"""Makes a ZIP archive of stored files while it is sent; neither memory nor disk holds it."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from typing_extensions import Buffer, override

from draw_api.models.objects import StoredFile

CHUNK_BYTES: Final = 1024**2
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)


class _ZipSink(io.RawIOBase):
    """The output of `zipfile`; its bytes are taken out as soon as they are written."""

    def __init__(self) -> None:
        self._held = bytearray()

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Buffer, /) -> int:
        self._held += data
        return memoryview(data).nbytes

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def zip_files(root: Path, files: Iterable[StoredFile]) -> Iterator[bytes]:
    """Yield the archive in pieces; files that no longer exist are left out."""
    sink = _ZipSink()
    inside = root.resolve()
    # Stored, not deflated: most objects are compressed or noise, and speed matters.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            path = (inside / file.path).resolve()
            if not path.is_relative_to(inside):
                continue
            yield from _one(archive, sink, path, file)
    yield sink.take()


def _one(archive: zipfile.ZipFile, sink: _ZipSink, path: Path, file: StoredFile) -> Iterator[bytes]:
    try:
        source = path.open("rb")
    except OSError:
        return
    entry = zipfile.ZipInfo(file.name, EARLIEST)
    entry.external_attr = 0o644 << 16
    with source, archive.open(entry, "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            yield sink.take()
