"""Ports of handing series to the DICOM handler: the change feed, its folder, and its task queue."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from uuid import UUID

from draw_indexer.models import SeriesObject, StableSeries


class FeedReader(Protocol):
    """One consumer's position in the change feed, while no other process holds it."""

    def stable_series(self) -> Sequence[StableSeries]:
        """Return the next series that became complete; none when all were read."""

    def advance(self, sequence: int) -> None:
        """Move the position behind this change."""

    def skip(self) -> None:
        """Move the position behind everything that has happened until now."""


class FeedRepository(Protocol):
    """The change feed."""

    def reading(self, consumer: str) -> AbstractContextManager[FeedReader | None]:
        """Yield this consumer's position, or None while another process holds it.

        It may be held for minutes, so no transaction may hold it.
        """

    def objects_of(self, series_instance_uid: str) -> Sequence[SeriesObject]:
        """Return the current objects of a series."""


class SeriesFolder(Protocol):
    """The handler's folder."""

    def deliver(
        self, folder: Path, series_instance_uid: str, objects: Sequence[SeriesObject], *, link: bool
    ) -> Path:
        """Put the objects into the folder, each complete, and return where; existing files stay.

        Raises:
            Transient: it is not possible now.
        """


class TaskQueue(Protocol):
    """The processing chain."""

    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        """Return once the broker has the task.

        Raises:
            Transient: it is not possible now.
        """
