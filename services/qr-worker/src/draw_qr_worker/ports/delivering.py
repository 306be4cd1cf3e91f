"""Ports of one delivery: what an endpoint has answered for, folders, and task queues."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from draw_qr_worker.models import AnsweredObject, HandedSeries, Lease
from draw_shared.routing.destinations import FolderPlace


class AnsweredObjectRepository(Protocol):
    """The objects that endpoints have answered for, and that folders were given."""

    def answered(
        self, endpoint: str, uids: Sequence[str]
    ) -> Mapping[str, Sequence[AnsweredObject]]:
        """Return, by SOP Instance UID, each content that was answered for, the latest at last."""

    def record(
        self,
        lease: Lease,
        endpoint: str,
        delivery_ids: Sequence[int],
        objects: Sequence[AnsweredObject],
    ) -> None:
        """Keep what the endpoint has answered for, each of a delivery; or raise LostLease."""


class SeriesPlaces(Protocol):
    """Folders of other programs."""

    def put(
        self,
        place: FolderPlace,
        series: HandedSeries,
        writer: str,
        check: Callable[[], None],
    ) -> Path:
        """Put the objects of one series into its folder, each complete.

        A file stays as it is, whatever a program has done to it, unless the folder was given
        another content of its object before. A ready marker is set when the whole series is there.

        Return the folder of the series. `writer` is the name of a job and its execution, joined by
        a hyphen: what an earlier execution, or jobs that are over, have left unfinished is removed.
        `check` raises between files if the execution must stop.

        Raises:
            StoredFileAway: files of some objects cannot be read now. A new folder does not appear,
                one that is there has the others, and no ready marker.
            Transient: it is not possible now.
        """


class TaskStarter(Protocol):
    """Queues of Celery workers."""

    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        """Return once the broker has the task.

        Raises:
            Transient: it is not possible now.
        """
