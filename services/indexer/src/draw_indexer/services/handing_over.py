"""Hands each complete series to the DICOM handler: into its folder, and as a task.

It reads the change feed behind a position that moves only when a series is handed over. After a
crash, or if the folder is full or the broker away, the series is delivered again and none is
skipped. Changes that happen while handing over is off are not delivered later.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

import structlog

from draw_indexer.models import StableSeries
from draw_indexer.ports.handing_over import FeedRepository, SeriesFolder, TaskQueue
from draw_shared.contracts.server_config import HandlerConfig

log = structlog.get_logger()

CONSUMER: Final = "handler"
TASK_NAMESPACE: Final = UUID("0f6a5c3e-51a0-5d0b-9a0e-6f5f4dfc7f11")


class HandingOverService:
    """Hands series over; every indexer calls it repeatedly."""

    def __init__(
        self,
        feed: FeedRepository,
        folder: SeriesFolder,
        tasks: TaskQueue,
        config: Callable[[], HandlerConfig],
        handed: Callable[[], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._feed = feed
        self._folder = folder
        self._tasks = tasks
        self._config = config
        self._handed = handed
        self._stopping = stopping

    def hand_over(self) -> None:
        """Hand over every series that became complete.

        Raises:
            Transient: the next series could not be handed over; it comes first next time.
        """
        with self._feed.reading(CONSUMER) as position:
            if position is None:
                return
            if not wanted(self._config()):
                position.skip()
                return
            while found := position.stable_series():
                for series in found:
                    config = self._config()
                    if self._stopping() or not wanted(config):
                        return
                    self._deliver(config, series)
                    position.advance(series.sequence)

    def _deliver(self, config: HandlerConfig, series: StableSeries) -> None:
        objects = self._feed.objects_of(series.series_instance_uid)
        if not objects:
            log.info("handler.series_gone", series_instance_uid=series.series_instance_uid)
            return
        place: Path | None = None
        if config.auto_import or config.copy_to_folder:
            place = self._folder.deliver(
                Path(config.folder),
                series.series_instance_uid,
                objects,
                link=not config.copy_to_folder,
            )
        if config.trigger_processing:
            self._tasks.start(
                uuid5(TASK_NAMESPACE, f"{series.sequence}:{series.series_instance_uid}"),
                config.celery_task,
                config.celery_queue,
                {
                    "study_instance_uid": series.study_instance_uid,
                    "series_instance_uid": series.series_instance_uid,
                    "folder": str(place) if place else None,
                    "instances": len(objects),
                    "sequence": series.sequence,
                },
            )
        self._handed()
        log.info(
            "handler.series_handed_over",
            series_instance_uid=series.series_instance_uid,
            objects=len(objects),
        )


def wanted(config: HandlerConfig) -> bool:
    """Return whether a series is to be handed over at all."""
    into_folder = (config.auto_import or config.copy_to_folder) and bool(config.folder)
    return into_folder or (config.trigger_processing and bool(config.celery_task))
