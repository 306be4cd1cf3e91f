"""The DICOM handler's folder: a series appears in it complete or not at all.

A series is assembled beside its final place, under a name that begins with a dot, and then renamed.
Objects that arrive later are added file by file, each complete or not at all. Files already there
never change.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

from draw_indexer.models import SeriesObject
from draw_indexer.ports.handing_over import SeriesFolder
from draw_shared.errors import Transient
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.folders import overlap
from draw_shared.storage.layout import safe_part
from draw_shared.wording import message

log = structlog.get_logger()

NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK))
"""The file system cannot link here, so files are copied."""
PART: Final = ".part"
READABLE: Final = 0o644


class HandlerFolderUnavailable(Transient):
    """The handler's folder does not accept files now."""


class HandlerFolder(SeriesFolder):
    """Puts objects of one storage root into folders."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @override
    def deliver(
        self, folder: Path, series_instance_uid: str, objects: Sequence[SeriesObject], *, link: bool
    ) -> Path:
        with _translate_errors():
            if overlap(folder, self._root):
                raise HandlerFolderUnavailable(
                    message("the handler's folder and the storage lie one inside the other")
                )
            place = folder / safe_part(series_instance_uid)
            if place.exists():
                for one in objects:
                    self._put(one, place, link=link)
                sync_folders((str(place),))
                return place
            beside = folder / f".{place.name}{PART}"
            # Left by a crash, perhaps by another delivery of other objects.
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            # Everyone who may enter the handler's folder may read the files in it.
            beside.chmod(_mode(folder))
            for one in objects:
                self._put(one, beside, link=link)
            sync_folders((str(beside),))
            beside.rename(place)
            sync_folders((str(folder),))
        return place

    def _put(self, one: SeriesObject, place: Path, *, link: bool) -> None:
        source = self._root / one.path
        target = place / f"{safe_part(one.sop_instance_uid)}.dcm"
        if target.exists():
            return
        part = place / f".{target.name}{PART}"
        part.unlink(missing_ok=True)
        try:
            if not (link and _link(source, part)):
                _copy(source, part)
                part.chmod(_mode(place.parent) & READABLE)
        except FileNotFoundError:
            if source.exists():
                raise
            # Its study was deleted, and with it the reason to hand it over.
            log.warning("handler.file_missing", sop_instance_uid=one.sop_instance_uid)
            return
        part.rename(target)


def _mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise HandlerFolderUnavailable(
            message("the handler's folder: %(reason)s", reason=reason)
        ) from error
