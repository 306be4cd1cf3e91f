"""Progress of retrieve jobs as server-sent events.

A stream sends an event `retrieve` whenever a job has changed, with the same document as `GET
/api/v1/retrieves/{id}` but without its history, and `end` when the job is over. A stream ends with
its session or token, and after an hour; browsers then connect again by themselves.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.jobs import FINISHED
from draw_api.models.retrieves import Retrieve
from draw_api.ports.live_retrieves import LiveRetrieves
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Refusal
from draw_shared.errors import Transient
from draw_shared.web.identity import require_still, requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1/retrieves", tags=["retrieves"])

MayReadJobs = Annotated[Principal, requires(Permission.READ_JOBS)]

POLL_INTERVAL_SECONDS: Final = 0.25
KEEP_ALIVE_INTERVAL_SECONDS: Final = 15.0
"""After this silence a comment is sent, so that proxies and clients see that the stream lives."""
SESSION_CHECK_INTERVAL_SECONDS: Final = 2.0
"""A stream checks at least this often whether its session or token has ended."""
MAX_STREAM_SECONDS: Final = 3600.0
MEDIA_TYPE: Final = "text/event-stream"
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {"content": {MEDIA_TYPE: {}}, "description": "Events"}
}
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses=STREAM,
    dependencies=[costs(RequestCost.STREAMS)],
)
async def all_events(request: Request, _: MayReadJobs) -> StreamingResponse:
    """Stream the progress of all unfinished retrieves."""
    return _stream(request, None)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses=STREAM | responses(HTTPStatus.NOT_FOUND),
    dependencies=[costs(RequestCost.STREAMS)],
)
def events(request: Request, _: MayReadJobs, work: InWork, job_id: UUID) -> StreamingResponse:
    """Stream the progress of one job or batch until it is over."""
    known = Retrieve.model_validate(work.retrieves.retrieve(job_id).model_dump())
    return _stream(request, known)


def _stream(request: Request, one: Retrieve | None) -> StreamingResponse:
    live: LiveRetrieves = request.app.state.live_retrieves
    return StreamingResponse(_events(request, live, one), media_type=MEDIA_TYPE, headers=HEADERS)


async def _events(
    request: Request, live: LiveRetrieves, one: Retrieve | None
) -> AsyncIterator[str]:
    with live.watching():
        shown: dict[UUID, Retrieve] = {}
        deadline, spoken = time.monotonic() + MAX_STREAM_SECONDS, time.monotonic()
        checked = spoken
        current: Mapping[UUID, Retrieve] = {} if one is None else {one.id: one}
        while not live.stopping and time.monotonic() < deadline:
            news = list(_find_changes(current, shown))
            if news or time.monotonic() - checked > SESSION_CHECK_INTERVAL_SECONDS:
                # Nothing leaves after the end of the session or token.
                if not await run_in_threadpool(_may_still, request):
                    return
                checked = time.monotonic()
            for retrieve in news:
                spoken = time.monotonic()
                yield _event("retrieve", retrieve)
            if one is not None and shown[one.id].state in FINISHED:
                yield _event("end", shown[one.id])
                return
            if time.monotonic() - spoken > KEEP_ALIVE_INTERVAL_SECONDS:
                spoken = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            seen = live.seen
            current = seen if one is None else {one.id: seen.get(one.id, shown[one.id])}


def _may_still(request: Request) -> bool:
    factory: WorkFactory = request.app.state.work
    try:
        with factory() as work:
            require_still(request, work, Permission.READ_JOBS)
    except (Refusal, Transient):
        return False
    return True


def _find_changes(
    current: Mapping[UUID, Retrieve], shown: dict[UUID, Retrieve]
) -> Iterator[Retrieve]:
    """Yield and remember the jobs that have changed; forget those that are out of view."""
    for gone in shown.keys() - current.keys():
        del shown[gone]
    for job_id, retrieve in current.items():
        if shown.get(job_id) != retrieve:
            shown[job_id] = retrieve
            yield retrieve


def _event(name: str, retrieve: Retrieve) -> str:
    return f"event: {name}\nid: {retrieve.id}\ndata: {retrieve.model_dump_json()}\n\n"
