"""Ports of handing series to the DICOM handler: the change feed, its folder, and its task queue."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from uuid import UUID

from draw_indexer.models import SeriesObject, StableSeries


class FeedReader(Protocol):
    """One consumer's place in the change feed, for as long as nobody else has it."""

    def stable_series(self) -> Sequence[StableSeries]:
        """Return the next series that became complete; none when all are read."""

    def advance(self, sequence: int) -> None:
        """Never read this change again."""

    def skip(self) -> None:
        """Never read anything again that has happened until now."""


class FeedRepository(Protocol):
    """The change feed."""

    def reading(self, consumer: str) -> AbstractContextManager[FeedReader | None]:
        """Give this consumer's place, or None while another process has it.

        It may be held for minutes, so that no transaction may hold it.
        """

    def objects_of(self, series_instance_uid: str) -> Sequence[SeriesObject]:
        """Return the current objects of a series."""


class SeriesFolder(Protocol):
    """The handler's folder."""

    def deliver(
        self, folder: Path, series_instance_uid: str, objects: Sequence[SeriesObject], *, link: bool
    ) -> Path:
        """Return where the objects lie, all of them complete; what lies there already stays.

        Raises:
            Transient: it could not be done now.
        """


class TaskQueue(Protocol):
    """The processing chain."""

    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        """Return once the broker has the task.

        Raises:
            Transient: it could not be done now.
        """
