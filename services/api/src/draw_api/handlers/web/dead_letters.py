"""Dead letters: the messages in each queue, replay and discard."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Path, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.languages import _
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.dead_letters import DeadLetter, DeadLetterQueue
from draw_api.models.texts import QUEUE_NAME, SHORT_HASH
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal

router = APIRouter(include_in_schema=False)

MayManageDeadLetters = Annotated[Principal, page_requires(Permission.MANAGE_DEAD_LETTERS)]
ManageDeadLettersAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_DEAD_LETTERS)]

Queue = Annotated[str, Path(), QUEUE_NAME]
Key = Annotated[str, Path(), SHORT_HASH]


@dataclass(frozen=True, slots=True)
class DeadLettersView(View):
    """Every queue, and the messages of one."""

    template: ClassVar[str] = "dead-letters/list.html.jinja"

    queues: list[DeadLetterQueue]
    queue: str
    letters: Sequence[DeadLetter]

    def readable(self, body: str) -> str:
        """Return a message with one field per line, or unchanged if it is not JSON."""
        try:
            return json.dumps(json.loads(body), indent=2)
        except ValueError:
            return body


@router.get("/dead-letters")
def queues(request: Request, by: MayManageDeadLetters, work: InWork) -> Response:
    """Show which queues hold messages."""
    found = work.dead_letters.queues()
    first = next((queue.name for queue in found if queue.messages), "")
    letters = work.dead_letters.letters(first) if first else []
    return page(request, by, DeadLettersView(found, first, letters))


@router.get("/dead-letters/{queue}")
def letters(request: Request, by: MayManageDeadLetters, work: InWork, queue: Queue) -> Response:
    """Show the messages of a queue."""
    view = DeadLettersView(work.dead_letters.queues(), queue, work.dead_letters.letters(queue))
    return page(request, by, view)


@router.post("/dead-letters/{queue}/replay")
def replay_all(act: ManageDeadLettersAct, work: InWork, queue: Queue) -> Response:
    """Put every message of a queue back to where it failed."""
    work.dead_letters.replay(act.by, queue)
    return redirect(f"/dead-letters/{queue}", "replayed")


@router.post("/dead-letters/{queue}/{key}/replay")
def replay(act: ManageDeadLettersAct, work: InWork, queue: Queue, key: Key) -> Response:
    """Put one message back to where it failed."""
    work.dead_letters.replay(act.by, queue, key)
    return redirect(f"/dead-letters/{queue}", "replayed")


@router.get("/dead-letters/{queue}/{key}/discard")
def ask_discard(request: Request, by: MayManageDeadLetters, queue: Queue, key: Key) -> Response:
    """Ask for confirmation before a message is deleted."""
    view = ConfirmView(
        title=_("Discard this message?"),
        text=_(
            "The message is lost to its consumer. The event of an image can be made again by"
            " rebuilding the index; a job is found in the database anyway."
        ),
        button=_("Discard the message"),
        action=f"/dead-letters/{queue}/{key}/discard",
        back=f"/dead-letters/{queue}",
    )
    return page(request, by, view)


@router.post("/dead-letters/{queue}/{key}/discard")
def discard(act: ManageDeadLettersAct, work: InWork, queue: Queue, key: Key) -> Response:
    """Delete a message."""
    work.dead_letters.discard(act.by, queue, key)
    return redirect(f"/dead-letters/{queue}", "discarded")
