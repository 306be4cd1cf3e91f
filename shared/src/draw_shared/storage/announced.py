"""What was announced and may not be in the index yet, a record for all that goes together.

The broker has on its disk what it has confirmed, and may lose that disk. So whoever announces
keeps the announcements themselves here, a line each, before it lets go of the spool entries.
An indexer removes a record once the index has every object of it, and announces again what
nothing else will bring (`draw_indexer.services.lost_announcements`). A record is complete under
its name or is not there; names sort by the time of the last announcement.
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
"""Suffix of records that cannot be read to their end; kept for people to look at."""
MAX_RECORD_BYTES: Final = 16 * 2**20
"""Several times what all objects that may be on their way at once need."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What was announced together."""

    name: str
    tries: int
    """How often it was announced again."""
    objects: Sequence[InstanceStoredV1]
    damaged: bool = False
    """Whether there is more in it, which cannot be read."""


class AnnouncedRecords:
    """The records of one storage volume."""

    def __init__(self, root: Path) -> None:
        self._folder = root / layout.ANNOUNCED

    def keep(self, objects: Sequence[InstanceStoredV1], spool: Path) -> None:
        """Return once a record of what was announced is on stable storage.

        It is written in the spool folder; what a crash leaves of it goes with what it left there.

        Raises:
            OSError: there is no record.
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
        """Return the names of records, what was announced first of all first."""
        return nsmallest(most, self._found())

    def lines(self, name: str) -> Sequence[bytes]:
        """Return the announcements of a record as they were published; none if it is unreadable."""
        try:
            return _lines(self._folder / name)
        except (OSError, ValueError):
            return ()

    def read(self, name: str) -> Announced | None:
        """Return a record; None when it is gone. What cannot be read of it is left out."""
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
        return Announced(name, _tries(name), objects, damaged)

    def postpone(self, record: Announced) -> str:
        """Count that a record is announced again, put it behind all others; return its new name."""
        name = _named(record.tries + 1)
        with suppress(FileNotFoundError):
            (self._folder / record.name).rename(self._folder / name)
        return name

    def settle(self, record: Announced) -> None:
        """Remove a record that nothing is missing of; one that is damaged is set aside."""
        if not record.damaged:
            self.remove(record.name)
            return
        path = self._folder / record.name
        with suppress(FileNotFoundError):
            log.error("announced.damaged", record=record.name, objects=len(record.objects))
            path.rename(f"{path}{DAMAGED}")

    def remove(self, name: str) -> None:
        """Remove a record of which nothing is missing."""
        with suppress(FileNotFoundError):
            (self._folder / name).unlink()

    def _found(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(RECORD):
                    yield entry.name


def _named(tries: int) -> str:
    return f"{spool_name()}.{tries}{RECORD}"


def _tries(name: str) -> int:
    told = name.removesuffix(RECORD).rpartition(".")[2]
    return int(told) if told.isascii() and told.isdigit() else 0


def _lines(path: Path) -> list[bytes]:
    """Return the lines of a record.

    Raises:
        OSError, ValueError: it cannot be read, or is none.
    """
    with path.open("rb") as file:
        content = file.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise ValueError("larger than any record")
    return content.splitlines()


def _write(path: Path, content: bytes) -> None:
    # O_DSYNC: the write returns when it is on stable storage.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC
    descriptor = os.open(path, flags, 0o640)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
