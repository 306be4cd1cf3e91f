"""Makes a ZIP archive of stored files while it is sent; neither memory nor disk holds it."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from typing_extensions import Buffer, override

from draw_api.models.objects import StoredFile

CHUNK_BYTES: Final = 1024**2
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
MISSING: Final = "MISSING.txt"
NOT_READ: Final = "These images are in the index, but could not be read from the storage:"


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
    """Yield the archive in pieces; it says which files could not be read."""
    sink = _ZipSink()
    missing: list[str] = []
    inside = root.resolve()
    # Stored, not deflated: most objects are compressed or noise, and speed matters.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            path = (inside / file.path).resolve()
            try:
                source = path.open("rb") if path.is_relative_to(inside) else None
            except OSError:
                source = None
            if source is None:
                missing.append(file.name)
            else:
                yield from _one(archive, sink, source, file)
        if missing:
            archive.writestr(zipfile.ZipInfo(MISSING, EARLIEST), "\r\n".join([NOT_READ, *missing]))
    yield sink.take()


def _one(
    archive: zipfile.ZipFile, sink: _ZipSink, source: BinaryIO, file: StoredFile
) -> Iterator[bytes]:
    entry = zipfile.ZipInfo(file.name, EARLIEST)
    entry.external_attr = 0o644 << 16
    with source, archive.open(entry, "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            yield sink.take()
