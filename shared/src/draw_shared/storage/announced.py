"""Records of announcements that may not be indexed yet, one record for each batch.

The broker keeps confirmed messages on its disk and may lose that disk. The outbox therefore
writes the announcements here, one line each, before it removes the spool entries. An indexer
removes a record once every object in it is indexed, and announces lost ones again
(`draw_indexer.services.lost_announcements`). A record appears under its name only when it is
complete. Names sort by the time of the last announcement.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Final

import structlog

from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.storage import layout
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.incoming import spool_name
from draw_shared.storage.spool import PART

log = structlog.get_logger()

RECORD: Final = ".jsonl"
DAMAGED: Final = ".damaged"
"""Suffix of partly unreadable records; they stay for an operator to inspect."""
MAX_RECORD_BYTES: Final = 16 * 2**20
"""Several times the size of a record of all objects that may be in flight at once."""


@dataclass(frozen=True, slots=True)
class Announced:
    """One record: the objects of one batch of announcements."""

    name: str
    tries: int
    """How often the batch was announced again."""
    objects: Sequence[InstanceStoredV1]
    damaged: bool = False
    """Whether the record has further content that cannot be read."""


class AnnouncedRecords:
    """The records of one storage volume."""

    def __init__(self, root: Path) -> None:
        self._folder = root / layout.ANNOUNCED

    def keep(self, objects: Sequence[InstanceStoredV1], spool: Path) -> None:
        """Return once a record of these announcements is on stable storage.

        It is first written in the spool folder, where incomplete files are removed after a crash.

        Raises:
            OSError: no record was made.
        """
        self._folder.mkdir(exist_ok=True)
        name = _named(0)
        part = spool / f"{name}{PART}"
        try:
            _write(part, b"".join(one.to_bytes() + b"\n" for one in objects))
            part.rename(self._folder / name)
            sync_folders((str(self._folder),))
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def names(self, most: int) -> list[str]:
        """Return the names of records, the oldest announcement first."""
        return nsmallest(most, self._found())

    def lines(self, name: str) -> Sequence[bytes]:
        """Return the announcements of a record as published; none if it is unreadable."""
        try:
            return _lines(self._folder / name)
        except (OSError, ValueError):
            return ()

    def read(self, name: str) -> Announced | None:
        """Return a record without its unreadable lines; None when it is gone."""
        path = self._folder / name
        objects: list[InstanceStoredV1] = []
        damaged = False
        try:
            lines = _lines(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            lines, damaged = [], True
        for line in lines:
            try:
                objects.append(InstanceStoredV1.from_bytes(line))
            except ValueError:
                damaged = True
        return Announced(name, tries_of(name), objects, damaged)

    def postpone(self, record: Announced) -> str:
        """Count another announcement, move the record behind all others, return its new name."""
        name = _named(record.tries + 1)
        with suppress(FileNotFoundError):
            (self._folder / record.name).rename(self._folder / name)
        return name

    def settle(self, record: Announced) -> None:
        """Remove a record whose objects are all indexed; set a damaged one aside."""
        if not record.damaged:
            self.remove(record.name)
            return
        path = self._folder / record.name
        with suppress(FileNotFoundError):
            log.error("announced.damaged", record=record.name, objects=len(record.objects))
            path.rename(f"{path}{DAMAGED}")

    def remove(self, name: str) -> None:
        """Remove a record whose objects are all indexed."""
        with suppress(FileNotFoundError):
            (self._folder / name).unlink()

    def _found(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(RECORD):
                    yield entry.name


def _named(tries: int) -> str:
    return f"{spool_name()}.{tries}{RECORD}"


def tries_of(name: str) -> int:
    """Return how often the batch of the record with this name was announced again."""
    told = name.removesuffix(RECORD).rpartition(".")[2]
    return int(told) if told.isascii() and told.isdigit() else 0


def _lines(path: Path) -> list[bytes]:
    """Return the lines of a record.

    Raises:
        OSError, ValueError: the file cannot be read or is not a record.
    """
    with path.open("rb") as file:
        content = file.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise ValueError("larger than any record")
    return content.splitlines()


def _write(path: Path, content: bytes) -> None:
    # O_DSYNC: the write returns when the data is on stable storage.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC
    descriptor = os.open(path, flags, 0o640)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
