"""Closes series and studies when they are complete, and announces it.

A series is complete when every association that brought objects of it was released, all of those
are indexed, and the sender's settle time has passed; or when a retrieve job has proved it; else
after the quiet period. An aborted association, or one whose end nobody reported, completes nothing
before the quiet period is over. Before a series is closed, nothing of it may be on the storage
volume that the index does not know: it may belong to an association of which the index knows
nothing yet. What is quiet in the index only, as broker or indexer were away, waits for that too.

How long something is quiet, the database's clock says. If that is put forward, nothing counts as
quiet until the quiet period has passed once more.

The change feed is written with the closing and is authoritative. The messages after the commit only
spare their receivers the polling: if one is lost, the feed still has the change. An object that
arrives later reopens its series and study; they are closed and announced again.

Concurrency: a timer thread of every indexer calls this; the repository lets one at a time close.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog

from draw_indexer.models import QuietEntity, SettledSeries
from draw_indexer.ports.stability import StabilityRepository, VolumeWatch
from draw_shared.contracts.envelope import Message
from draw_shared.contracts.instance import SeriesStableV1, StudyStableV1

log = structlog.get_logger()

STEP_SECONDS: Final = 5.0
"""By how much a clock must be ahead of ours, which counts, to have been put forward."""
LOOK_CLOSER_SECONDS: Final = 5.0
"""How often it is looked whose objects lie in spool folders, which takes up to some seconds."""


@dataclass(frozen=True, slots=True)
class CompletionTimes:
    """When a series counts as complete, in seconds."""

    quiet: float
    """After the last object of which nobody knows whether others follow."""
    settle: float
    """After the end of the associations, unless the sender has a time of its own."""


class StabilityService:
    """Closes complete series and studies; called repeatedly."""

    def __init__(
        self,
        rows: StabilityRepository,
        volume: VolumeWatch,
        times: Callable[[], CompletionTimes],
        announce: Callable[[Message], None],
        closed: Callable[[str, int], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._rows = rows
        self._volume = volume
        self._times = times
        self._announce = announce
        self._closed = closed
        self._now = now
        self._settled_since: dict[int, float] = {}
        """When each series was first seen settled (monotonic)."""
        self._quiet_since: dict[QuietEntity, float] = {}
        """When each series and study was first seen quiet (monotonic)."""
        self._ahead: float | None = None
        """By how much the database's clock was ahead of ours at most when it was last asked."""
        self._none_quiet_until = 0.0
        self._look_closer_at = 0.0

    def close_complete(self) -> None:
        """Close and announce what is complete now.

        Raises:
            Transient: the database does not answer.
        """
        times = self._times()
        settled = self._rows.find_settled(times.settle)
        ended, silent = self._choose(settled, self._find_quiet(times))
        series, studies = self._rows.close(times.quiet, times.settle, ended, silent)
        for one in series:
            log.info(
                "series.stable",
                study_instance_uid=one.study_instance_uid,
                series_instance_uid=one.series_instance_uid,
                instances=one.instances,
                new_instances=one.new_instances,
                reason=one.reason,
            )
            self._announce(
                SeriesStableV1(
                    event_id=uuid4(),
                    occurred_at=self._now(),
                    study_instance_uid=one.study_instance_uid,
                    series_instance_uid=one.series_instance_uid,
                    instances=one.instances,
                    new_instances=one.new_instances,
                    reason=one.reason,
                )
            )
        for one in studies:
            self._announce(
                StudyStableV1(
                    event_id=uuid4(),
                    occurred_at=self._now(),
                    study_instance_uid=one.study_instance_uid,
                    series=one.series,
                    instances=one.instances,
                    new_instances=one.new_instances,
                    reason=one.reason,
                )
            )
        self._closed("series", len(series))
        self._closed("study", len(studies))

    def _find_quiet(self, times: CompletionTimes) -> Sequence[QuietEntity]:
        began = time.monotonic()
        moment, found = self._rows.find_quiet(times.quiet, times.settle)
        now = time.monotonic()
        ahead, before = moment.timestamp(), self._ahead
        self._ahead = ahead - began
        if before is not None and ahead - now > before + STEP_SECONDS:
            self._none_quiet_until = now + times.quiet
            log.warning("stability.clock_put_forward", seconds=round(ahead - now - before, 1))
        return () if now < self._none_quiet_until else found

    def _choose(
        self, settled: Sequence[SettledSeries], quiet: Sequence[QuietEntity]
    ) -> tuple[list[int], list[QuietEntity]]:
        """Return of what nothing is left on the volume that the index lacks."""
        now = time.monotonic()
        self._settled_since = {one.id: self._settled_since.get(one.id, now) for one in settled}
        self._quiet_since = {one: self._quiet_since.get(one, now) for one in quiet}
        if not settled and not quiet:
            return [], []
        self._volume.look()
        due = [one for one in settled if self._volume.announced_since(self._settled_since[one.id])]
        silent = self._announced(quiet)
        if not due and not silent:
            return [], []
        uids = {one.series_instance_uid for one in due} | {one.uid for one in silent}
        unindexed = self._volume.find_unindexed(uids)
        if unindexed is None:
            return [], []
        return (
            [one.id for one in due if one.series_instance_uid not in unindexed],
            [one for one in silent if one.uid not in unindexed],
        )

    def _announced(self, quiet: Sequence[QuietEntity]) -> list[QuietEntity]:
        """Return what has no object in a spool folder that was there when it was seen quiet.

        A folder that nobody empties, as its receiver is away, holds up its own studies only.
        """
        found = {one for one in quiet if self._volume.announced_since(self._quiet_since[one])}
        now = time.monotonic()
        if len(found) < len(quiet) and now >= self._look_closer_at:
            self._look_closer_at = now + LOOK_CLOSER_SECONDS
            waiting = self._volume.unannounced_studies()
            if waiting is not None:
                found.update(one for one in quiet if one.study_instance_uid not in waiting)
        return [one for one in quiet if one in found]
