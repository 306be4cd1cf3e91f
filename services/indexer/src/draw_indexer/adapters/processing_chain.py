"""The processing chain behind Celery's workers."""

from uuid import UUID

from draw_shared.messaging.celery_tasks import CeleryTask, CeleryTasks


class ProcessingChain:
    """Starts the chain for one series."""

    def __init__(self, tasks: CeleryTasks) -> None:
        self._tasks = tasks

    def start(self, task_id: UUID, name: str, queue: str, arguments: dict[str, object]) -> None:
        """Return once the broker has the task.

        Raises:
            BrokerUnavailable, NoWorkers: it could not be done now.
        """
        self._tasks.send(CeleryTask(task_id, name, queue, arguments))
