"""Closes series and studies after their quiet period, and announces it.

The change feed is written with the closing and is authoritative. The messages after the commit only
spare their receivers the polling: if one is lost, the feed still has the change. An object that
arrives later reopens its series and study; they are closed and announced again.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import structlog

from draw_indexer.ports.stability import StabilityRepository
from draw_shared.contracts.envelope import Message
from draw_shared.contracts.instance import SeriesStableV1, StudyStableV1

log = structlog.get_logger()


class StabilityService:
    """Closes quiet series and studies; called repeatedly."""

    def __init__(
        self,
        rows: StabilityRepository,
        quiet_seconds: Callable[[], float],
        announce: Callable[[Message], None],
        closed: Callable[[str, int], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._rows = rows
        self._quiet_seconds = quiet_seconds
        self._announce = announce
        self._closed = closed
        self._now = now

    def close_quiet(self) -> None:
        """Close and announce what is quiet now.

        Raises:
            Transient: the database does not answer.
        """
        series, studies = self._rows.close_quiet(self._quiet_seconds())
        for one in series:
            log.info(
                "series.stable",
                study_instance_uid=one.study_instance_uid,
                series_instance_uid=one.series_instance_uid,
                instances=one.instances,
            )
            self._announce(
                SeriesStableV1(
                    event_id=uuid4(),
                    occurred_at=self._now(),
                    study_instance_uid=one.study_instance_uid,
                    series_instance_uid=one.series_instance_uid,
                    instances=one.instances,
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
                )
            )
        self._closed("series", len(series))
        self._closed("study", len(studies))
