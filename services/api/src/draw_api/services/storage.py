"""How full the storage is, what fills it, what is deleted and what stays."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from draw_api.models.paging import Page
from draw_api.models.storage import (
    CleanUpPreview,
    Deleted,
    Forecast,
    GrowthDay,
    ModalityUsage,
    PatientUsage,
    StorageRules,
    StorageUsage,
    StudyUsage,
)
from draw_api.ports.status import StatusRepository
from draw_api.ports.storage import StorageRepository
from draw_api.services.status import reported_used_bytes
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.storage.space import DiskRoom, RemainingSpace, room
from draw_shared.wording import message

OBSERVED_DAYS: Final = 30


class StorageService:
    """Manages the storage for administrators."""

    def __init__(
        self,
        tables: StorageRepository,
        observations: StatusRepository,
        disk: Callable[[], DiskRoom | None],
        unindexed: Callable[[], int],
        audit: AuditTrail,
        clock: Callable[[], datetime],
    ) -> None:
        self._tables = tables
        self._observations = observations
        self._disk = disk
        self._unindexed = unindexed
        self._audit = audit
        self._clock = clock

    def usage(self) -> StorageUsage:
        """Return how full the storage is and when it will be full."""
        rules, sums, disk = self._tables.rules(), self._tables.sums(), self._disk()
        used = reported_used_bytes(self._observations.replicas())
        if used is None:
            used = sums.current_bytes + sums.conflict_bytes + sums.bytes_to_remove
        left = room(rules.limits, used, disk)
        inodes = disk if disk is not None and disk.total_inodes else None
        return StorageUsage(
            used_bytes=used,
            limit_bytes=rules.limits.most_bytes,
            disk_total_bytes=disk.total_bytes if disk else None,
            disk_free_bytes=disk.free_bytes if disk else None,
            min_free_bytes=rules.limits.kept_bytes(disk) if disk else None,
            disk_total_inodes=inodes.total_inodes if inodes else None,
            disk_free_inodes=inodes.free_inodes if inodes else None,
            room_bytes=0 if left.shortage else min(left.by_limit().values(), default=None),
            refusing=left.shortage,
            studies=sums.studies,
            instances=sums.instances,
            conflicts=sums.conflicts,
            conflict_bytes=sums.conflict_bytes,
            held_studies=sums.held_studies,
            held_bytes=sums.held_bytes,
            files_to_remove=sums.files_to_remove,
            bytes_to_remove=sums.bytes_to_remove,
            clean_up=rules.clean_up,
            retention_days=rules.retention_days,
            forecast=self._forecast(rules, left, used),
        )

    def growth(self, days: int) -> Sequence[GrowthDay]:
        """Return what was received on each of the last days, oldest first."""
        return self._tables.growth(days)

    def patients(self, cursor: str | None, limit: int) -> Page[PatientUsage]:
        """Return a page of patients, largest first."""
        return self._tables.patients(cursor, limit)

    def studies(self, cursor: str | None, limit: int) -> Page[StudyUsage]:
        """Return a page of studies, largest first."""
        return self._tables.studies(cursor, limit)

    def modalities(self) -> Sequence[ModalityUsage]:
        """Return every modality, largest first."""
        return self._tables.modalities()

    def clean_up_preview(
        self, retention_days: int | None, cursor: str | None, limit: int
    ) -> CleanUpPreview:
        """Return exactly what the clean-up would delete now; nothing is deleted."""
        rules = self._tables.rules()
        if retention_days is not None:
            rules = StorageRules(
                rules.max_storage_gb, rules.min_free_percent, rules.clean_up, retention_days
            )
        found = self._tables.expired(rules, self._clock(), cursor, limit)
        return found.model_copy(update={"waiting": found.waiting or self._unindexed() > 0})

    def clean_up(
        self, by: Principal, study_instance_uid: str, retention_days: int, reason: str
    ) -> Deleted:
        """Delete a study that the clean-up would delete, without waiting for it; record why.

        Raises:
            Conflict: not everything received is indexed yet, or the clean-up would not delete it.
            NotFound: the index does not have it.
        """
        if self._unindexed() > 0:
            words = message("Not everything received is indexed yet, so the study may still grow.")
            raise Conflict(words)
        if self._held(study_instance_uid) or not self._tables.still_expired(
            study_instance_uid, retention_days, self._clock()
        ):
            raise Conflict(message("The clean-up would not delete this study any more."))
        return self.delete(by, study_instance_uid, reason)

    def hold(self, by: Principal, study_instance_uid: str, reason: str) -> None:
        """Exempt a study from clean-up and deletion, and record why.

        Raises:
            NotFound: the index does not have it.
        """
        self._held(study_instance_uid)
        self._tables.set_held(study_instance_uid, held=True)
        self._audit.record(by, "study.hold", reason, study_instance_uid=study_instance_uid)

    def release(self, by: Principal, study_instance_uid: str) -> None:
        """Allow the clean-up to delete a study again.

        Raises:
            NotFound: the index does not have it.
        """
        if self._held(study_instance_uid):
            self._tables.set_held(study_instance_uid, held=False)
            self._audit.record(by, "study.release", study_instance_uid=study_instance_uid)

    def delete(self, by: Principal, study_instance_uid: str, reason: str) -> Deleted:
        """Delete a study with all its files, and record why.

        After the commit no query finds it; the files follow at once, and nothing of it comes back
        unless it is received again.

        Raises:
            NotFound: the index does not have it, not even set aside for another study.
            Conflict: it is held, or a job is working on it.
        """
        if self._tables.held(study_instance_uid):
            raise Conflict(message("The study is held; release it first."))
        if self._tables.is_busy(study_instance_uid):
            raise Conflict(message("A job that is not finished names this study; cancel it first."))
        gone = self._tables.delete(study_instance_uid, by.actor)
        if gone is None:
            raise NotFound(message("The index has no such study."))
        self._audit.record(
            by,
            "study.delete",
            message(
                "%(instances)s objects, %(files)s files, %(size_bytes)s bytes: %(reason)s",
                instances=gone.instances,
                files=gone.files,
                size_bytes=gone.size_bytes,
                reason=reason,
            ),
            study_instance_uid=study_instance_uid,
        )
        return gone

    def _held(self, study_instance_uid: str) -> bool:
        held = self._tables.held(study_instance_uid)
        if held is None:
            raise NotFound(message("The index has no such study."))
        return held

    def _forecast(self, rules: StorageRules, left: RemainingSpace, used: int) -> Forecast:
        days = self._tables.growth(OBSERVED_DAYS + 1)[:-1]
        first = self._tables.first_day()
        observed = [day for day in days if first is not None and day.day >= first]
        mean = sum(day.size_bytes for day in observed) // len(observed) if observed else 0
        rooms = left.by_limit()
        limited = min(rooms, key=lambda name: rooms[name], default=None)
        plateau = mean * rules.retention_days
        fills = mean > 0 and not (
            limited is None or (rules.clean_up and plateau <= rooms[limited] + used)
        )
        days_left = round(max(0, min(rooms.values())) / mean, 1) if fills else None
        return Forecast(
            days_observed=len(observed),
            bytes_per_day=mean,
            full_in_days=0.0 if left.shortage else days_left,
            limited_by=left.shortage or (limited if fills else None),
        )
