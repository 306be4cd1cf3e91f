"""Folders of other programs: a series appears in one complete or not at all.

A series is assembled beside its final place, under a name that begins with a dot, and then renamed.
Objects that arrive later, or in other contents, are put there file by file, each complete or not at
all; files that programs have changed stay. A ready marker is the last file to appear, and goes
while others are added.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from typing_extensions import override

from draw_qr_worker.models import HandedSeries, IndexedObject, StoredFileAway
from draw_qr_worker.ports.delivering import SeriesPlaces
from draw_shared.errors import Transient
from draw_shared.routing.destinations import FolderPlace
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.folders import overlap
from draw_shared.storage.handed_files import SourceUnreadable, hand_file, mode_of
from draw_shared.storage.layout import safe_part
from draw_shared.storage.objects import hash_rest
from draw_shared.wording import message

log = structlog.get_logger()

PART: Final = ".part"
LEFT: Final = re.compile(r"\..+\.([0-9a-f]{32})-\d+\.part")
"""What an execution has not finished: the series' folder, or a file in it."""


class FolderUnavailable(Transient):
    """The folder does not accept files now."""


class SeriesFolders(SeriesPlaces):
    """Puts objects of one storage root into folders."""

    def __init__(
        self, root: Path, unfinished: Callable[[Collection[UUID]], Collection[UUID]]
    ) -> None:
        """`unfinished` says which jobs are not over: nobody removes what these are writing."""
        self._root = root
        self._unfinished = unfinished

    @override
    def put(
        self,
        place: FolderPlace,
        series: HandedSeries,
        writer: str,
        check: Callable[[], None],
    ) -> Path:
        objects = series.objects
        marker = place.ready_marker if series.whole else ""
        folder, link = Path(place.path), place.files == "link"
        with _translate_errors():
            target = folder / safe_part(objects[0].item.series_instance_uid)
            # Who may write into the folder may have made a symbolic link of the series' own.
            if overlap(folder, self._root) or overlap(target, self._root):
                raise FolderUnavailable(
                    message("the folder and the storage lie one inside the other")
                )
            self._sweep((folder, target), target.name, writer)
            if target.exists():
                new = [one for one in objects if not _lies_in(target, one, series.before)]
                if new and place.ready_marker:
                    (target / place.ready_marker).unlink(missing_ok=True)
                self._add(new, target, marker, f".{writer}{PART}", check, link=link)
                return target
            beside = folder / f".{target.name}.{writer}{PART}"
            beside.mkdir(parents=True)
            try:
                # Everyone who may enter the folder may read the files in it.
                beside.chmod(mode_of(folder))
                for one in objects:
                    check()
                    self._put(one, beside, PART, link=link)
                _mark(beside, marker)
                sync_folders((str(beside),))
                # Fails if another writer was faster; the next try adds what it lacks.
                beside.rename(target)
            except BaseException:
                # It may be what fills the disk.
                shutil.rmtree(beside, ignore_errors=True)
                raise
            sync_folders((str(folder),))
        return target

    def _add(
        self,
        new: Sequence[IndexedObject],
        target: Path,
        marker: str,
        ending: str,
        check: Callable[[], None],
        *,
        link: bool,
    ) -> None:
        away: list[StoredFileAway] = []
        for one in new:
            check()
            try:
                self._put(one, target, ending, link=link)
            except StoredFileAway as error:
                away.append(error)
        sync_folders((str(target),))
        if away:
            raise away[-1]
        if marker and not (target / marker).exists():
            _mark(target, marker)
            sync_folders((str(target),))

    def _put(self, one: IndexedObject, place: Path, ending: str, *, link: bool) -> None:
        target = _file_of(one, place)
        part = place / f".{target.name}{ending}"
        try:
            hand_file(self._root / one.path, part, target, link=link)
        except SourceUnreadable as error:
            uid = one.item.sop_instance_uid
            log.warning("delivery.file_unreadable", sop_instance_uid=uid, error=error.strerror)
            raise StoredFileAway(
                message(
                    "the file of %(uid)s cannot be read: %(error)s", uid=uid, error=error.strerror
                )
            ) from error

    def _sweep(self, folders: Sequence[Path], series: str, writer: str) -> None:
        """Remove what earlier executions of this job, and jobs that are over, left unfinished.

        So goes what an indexer has left that handed series over itself, before routing did.
        """
        own = UUID(writer.partition("-")[0])
        left = {path: UUID(found[1]) for path, found in _unfinished_in(folders)}
        others = set(left.values()) - {own}
        kept = self._unfinished(others) if others else ()
        for path, job in left.items():
            if job not in kept:
                _remove(path)
        _remove(folders[0] / f".{series}{PART}")


def _unfinished_in(folders: Sequence[Path]) -> Iterator[tuple[Path, re.Match[str]]]:
    for folder in folders:
        if folder.is_dir():
            for path in folder.iterdir():
                found = LEFT.fullmatch(path.name)
                if found:
                    yield path, found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lies_in(place: Path, one: IndexedObject, before: Mapping[str, bytes]) -> bool:
    """Return whether the present content of an object was put there, and its file is there."""
    file = _file_of(one, place)
    if not file.exists():
        return False
    known = before.get(one.item.sop_instance_uid)
    if known is not None:
        return known == one.content_sha256
    with file.open("rb") as there:
        return hash_rest(there.read) == one.content_sha256.hex()


def _file_of(one: IndexedObject, place: Path) -> Path:
    return place / f"{safe_part(one.item.sop_instance_uid)}.dcm"


def _mark(place: Path, marker: str) -> None:
    if marker:
        (place / marker).touch()


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise FolderUnavailable(message("the folder: %(reason)s", reason=reason)) from error
