"""Starts tasks of Celery workers."""

from uuid import UUID

from typing_extensions import override

from draw_qr_worker.ports.delivering import TaskStarter
from draw_shared.messaging.celery_tasks import CeleryTask, CeleryTasks


class CeleryTaskStarter(TaskStarter):
    """Starts tasks over the suite's broker."""

    def __init__(self, tasks: CeleryTasks) -> None:
        self._tasks = tasks

    @override
    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        self._tasks.send(CeleryTask(task_id, name, queue, arguments))
