"""Messages that no consumer could process."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from draw_api.handlers.work import InWork
from draw_api.models.dead_letters import DeadLetter, DeadLetterQueue, Settled
from draw_api.models.texts import QUEUE_NAME, SHORT_HASH
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])

MayManageDeadLetters = Annotated[Principal, requires(Permission.MANAGE_DEAD_LETTERS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
Queue = Annotated[str, Path(examples=["indexer.dead"]), QUEUE_NAME]
Key = Annotated[str, Path(examples=["6f1c0a9d52b34e8f7a61b2c3"]), SHORT_HASH]


@router.get("")
def queues(_: MayManageDeadLetters, work: InWork) -> list[DeadLetterQueue]:
    """Return every dead-letter queue with the number of its messages."""
    return work.dead_letters.queues()


@router.get("/{queue}", responses=NOT_FOUND)
def letters(_: MayManageDeadLetters, work: InWork, queue: Queue) -> list[DeadLetter]:
    """Return the messages of a queue, at most 500; they stay there."""
    return list(work.dead_letters.letters(queue))


@router.post("/{queue}/replay", responses=NOT_FOUND)
def replay_all(by: MayManageDeadLetters, work: InWork, queue: Queue) -> Settled:
    """Put every message back into the queue where it failed."""
    return Settled(messages=work.dead_letters.replay(by, queue))


@router.post("/{queue}/{key}/replay", responses=NOT_FOUND)
def replay(by: MayManageDeadLetters, work: InWork, queue: Queue, key: Key) -> Settled:
    """Put one message back into the queue where it failed."""
    return Settled(messages=work.dead_letters.replay(by, queue, key))


@router.delete("/{queue}/{key}", responses=NOT_FOUND)
def discard(by: MayManageDeadLetters, work: InWork, queue: Queue, key: Key) -> Settled:
    """Delete one message."""
    return Settled(messages=work.dead_letters.discard(by, queue, key))
