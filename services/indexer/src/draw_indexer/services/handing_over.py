"""Hands each series that is complete to the DICOM handler: into its folder, and as a task.

What is to be done is read from the change feed behind a position that moves only when a
series is handed over: a crash, a full folder or an absent broker delivers it again and
skips nothing. What happens while everything is off is not made up for later.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID, uuid5

import structlog

from draw_indexer.models import SeriesObject, StableSeries
from draw_shared.contracts.server_config import HandlerConfig

log = structlog.get_logger()

CONSUMER: Final = "handler"
TASK_NAMESPACE: Final = UUID("0f6a5c3e-51a0-5d0b-9a0e-6f5f4dfc7f11")


class Position(Protocol):
    """One consumer's place in the change feed, for as long as nobody else has it."""

    def stable_series(self) -> Sequence[StableSeries]:
        """Return the next series that became complete; none when all are read."""

    def advance(self, sequence: int) -> None:
        """Never read this change again."""

    def skip(self) -> None:
        """Never read anything again that has happened until now."""


class Feed(Protocol):
    """The change feed."""

    def reading(self, consumer: str) -> AbstractContextManager[Position | None]:
        """Give this consumer's place, or None while another process has it."""

    def objects_of(self, series_instance_uid: str) -> Sequence[SeriesObject]:
        """Return the current objects of a series."""


class Folder(Protocol):
    """The handler's folder."""

    def deliver(
        self, folder: Path, series_instance_uid: str, objects: Sequence[SeriesObject], *, link: bool
    ) -> Path:
        """Return where the objects lie, all of them complete; what lies there already stays.

        Raises:
            Transient: it could not be done now.
        """


class Tasks(Protocol):
    """The processing chain."""

    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        """Return once the broker has the task.

        Raises:
            Transient: it could not be done now.
        """


class HandingOver:
    """The use case; called again and again, by every indexer."""

    def __init__(
        self,
        feed: Feed,
        folder: Folder,
        tasks: Tasks,
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
            Transient: the next one could not be handed over; it comes first next time.
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
    """Return whether anything is to be done with a series."""
    into_folder = (config.auto_import or config.copy_to_folder) and bool(config.folder)
    return into_folder or (config.trigger_processing and bool(config.celery_task))
