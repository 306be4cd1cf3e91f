"""Closes series and studies when they are complete, and announces it.

A series is complete when every association that brought objects of it was released, all of those
are indexed, and the sender's settle time has passed; or when a retrieve job has proved it; else
after the quiet period. An aborted association, or one whose end nobody reported, completes nothing
before the quiet period is over. Before a series is closed early, nothing of it may be on the
storage volume that the index does not know: it may belong to an association of which the index
knows nothing yet.

The change feed is written with the closing and is authoritative. The messages after the commit only
spare their receivers the polling: if one is lost, the feed still has the change. An object that
arrives later reopens its series and study; they are closed and announced again.

Concurrency: a timer thread of every indexer calls this; the repository lets one at a time close.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import structlog

from draw_indexer.models import SettledSeries
from draw_indexer.ports.stability import StabilityRepository, VolumeWatch
from draw_shared.contracts.envelope import Message
from draw_shared.contracts.instance import SeriesStableV1, StudyStableV1

log = structlog.get_logger()


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

    def close_complete(self) -> None:
        """Close and announce what is complete now.

        Raises:
            Transient: the database does not answer.
        """
        times = self._times()
        ended = self._choose(self._rows.find_settled(times.settle))
        series, studies = self._rows.close(times.quiet, times.settle, ended)
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

    def _choose(self, found: Sequence[SettledSeries]) -> list[int]:
        """Return the series of which nothing is left on the volume that the index lacks."""
        now = time.monotonic()
        self._settled_since = {one.id: self._settled_since.get(one.id, now) for one in found}
        if not found:
            return []
        self._volume.look()
        due = [one for one in found if self._volume.announced_since(self._settled_since[one.id])]
        if not due:
            return []
        unindexed = self._volume.find_unindexed({one.series_instance_uid for one in due})
        if unindexed is None:
            return []
        return [one.id for one in due if one.series_instance_uid not in unindexed]
