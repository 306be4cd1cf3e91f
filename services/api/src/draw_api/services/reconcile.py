"""Compares disk and index both ways, and repairs what it can.

A row without a file is deleted, because its object no longer exists. A file without a row is
announced, as after its reception. A different size is only shown: nothing tells which is right.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from draw_api.models.upkeep import Differences, FoundFile, Rebuilt
from draw_api.ports.reconcile import IndexAuditRepository, StoredFiles
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.errors import Permanent
from draw_shared.wording import message

AT_ONCE: Final = 500


class VolumeEmpty(Permanent):
    """No object is on the storage volume, and the index has some: is it mounted?"""


Key = TypeVar("Key")


class ReconcileService:
    """Compares and repairs disk and index."""

    def __init__(
        self,
        index: IndexAuditRepository,
        files: StoredFiles,
        announce: Callable[[list[FoundFile]], Rebuilt],
        audit: AuditTrail,
    ) -> None:
        self._index = index
        self._files = files
        self._announce = announce
        self._audit = audit

    def differences(self, newer_than: float) -> Differences:
        """Return how disk and index differ; files modified later may be on their way."""
        modified: dict[str, float] = {}

        def remember() -> Iterator[FoundFile]:
            for file in self._files.found():
                if file.modified > newer_than:
                    modified[file.path] = file.modified
                yield file

        found = self._index.compare(remember())
        # Compared with an older list, rows that came during the walk seem to differ: compare again.
        found.rows_without_file = self._recheck_missing(found.rows_without_file)
        found.conflicts_without_file = self._recheck_missing(found.conflicts_without_file)
        settled = [path for path in found.files_without_row if path not in modified]
        found.too_new = len(found.files_without_row) - len(settled)
        found.files_without_row = [path for path in settled if self._files.exists(path)]
        return found

    def repair(self, by: Principal, found: Differences, *, empty: bool = False) -> Rebuilt:
        """Delete rows without a file, announce files without a row, and record both.

        With `empty`, repair even if the volume has no object at all.

        Raises:
            VolumeEmpty: the volume has no object, and `empty` is not given; nothing was
                changed.
            Transient: database or broker went away; a repetition continues with the rest.
        """
        # Since the comparison, their objects may have been received again and indexed.
        self._index.hold()
        rows = self._recheck_missing(found.rows_without_file)
        conflicts = self._recheck_missing(found.conflicts_without_file)
        lost = len(rows) + len(conflicts)
        if lost and not empty and next(self._files.found(), None) is None:
            raise VolumeEmpty(
                f"the storage volume has no object, and the index has {lost}: is it mounted, and"
                " is DRAW_STORAGE_ROOT its path? Nothing was changed. If all objects are lost,"
                " repeat with --empty-volume"
            )
        deleted = 0
        for at in range(0, len(rows), AT_ONCE):
            gone = self._index.forget_rows(rows[at : at + AT_ONCE], by.actor)
            deleted += gone.instances
            for uid in gone.studies:
                why = message("none of its files is on the storage volume")
                self._audit.record(by, "study.delete", why, study_instance_uid=uid)
        self._index.forget_conflicts(conflicts)
        announced = self._announce([FoundFile(path, 0, 0) for path in found.files_without_row])
        self._audit.record(
            by,
            "storage.reconcile",
            message(
                "%(deleted)s rows and %(conflicts)s conflicts without file deleted, "
                "%(announced)s files without row announced",
                deleted=deleted,
                conflicts=len(conflicts),
                announced=announced.announced,
            ),
        )
        return announced

    def _recheck_missing(self, rows: Iterable[tuple[Key, str]]) -> list[tuple[Key, str]]:
        return [(key, path) for key, path in rows if not self._files.exists(path)]
