"""Starts tasks of Celery workers: task messages of protocol 2, without Celery itself.

The format is Celery's own (https://docs.celeryq.dev/en/stable/internals/protocol.html). The
workers own their queue. It is never declared here, so it keeps the arguments that they chose; a
task for a queue that does not exist yet waits.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pika.delivery_mode import DeliveryMode
from pika.exceptions import NackError, UnroutableError
from pika.spec import BasicProperties

from draw_shared.errors import Transient
from draw_shared.messaging import connection
from draw_shared.wording import message


class NoWorkers(Transient):
    """The workers' queue does not exist or refuses the message."""


@dataclass(frozen=True, slots=True)
class CeleryTask:
    """One call of a task; messages with the same `id` are the same call."""

    id: UUID
    name: str
    queue: str
    arguments: Mapping[str, Any]
    """Keyword arguments, of JSON types."""


class CeleryTasks:
    """Sends tasks to Celery workers; calls are rare, so each one opens its own connection."""

    def __init__(self, url: str, *, client: str) -> None:
        self._url = url
        self._client = client

    def send(self, task: CeleryTask) -> None:
        """Return once the broker has the message in the workers' queue.

        Raises:
            BrokerUnavailable, NoWorkers: the caller may send the task again later.
        """
        made = connection.connect(self._url, f"{self._client} celery")
        try:
            channel = made.channel()
            channel.confirm_delivery()
            channel.basic_publish("", task.queue, body(task), properties(task), mandatory=True)
        except (UnroutableError, NackError) as error:
            raise NoWorkers(
                message("no queue takes the task: %(error)s", error=type(error).__name__)
            ) from error
        except connection.CONNECTION_FAILURES as error:
            raise connection.BrokerUnavailable(type(error).__name__) from error
        finally:
            if made.is_open:
                made.close()


def body(task: CeleryTask) -> bytes:
    """Return the message body: positional arguments, keyword arguments and embedded options."""
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps([[], dict(task.arguments), embedded]).encode()


def properties(task: CeleryTask) -> BasicProperties:
    """Return the message properties, which name the task and the encoding of the body."""
    return BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.Persistent,
        priority=0,
        correlation_id=str(task.id),
        headers={
            "lang": "py",
            "task": task.name,
            "id": str(task.id),
            "root_id": str(task.id),
            "parent_id": None,
            "group": None,
            "meth": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "{...}",
            "origin": f"draw@{socket.gethostname()}",
            "ignore_result": True,
        },
    )
