"""Starts the processing chain, which runs in Celery's workers."""

from uuid import UUID

from typing_extensions import override

from draw_indexer.ports.handing_over import TaskQueue
from draw_shared.messaging.celery_tasks import CeleryTask, CeleryTasks


class CeleryTaskQueue(TaskQueue):
    """Starts the chain for one series."""

    def __init__(self, tasks: CeleryTasks) -> None:
        self._tasks = tasks

    @override
    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        self._tasks.send(CeleryTask(task_id, name, queue, arguments))
