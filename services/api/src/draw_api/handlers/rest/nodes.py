"""Remote nodes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.jobs import JobWithAttempts, NewEcho, NewProbe, NodeTests
from draw_api.models.nodes import NewPin, Node, NodeSettings
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/nodes", tags=["nodes"])

MayReadNodes = Annotated[Principal, requires(Permission.READ_NODES)]
MayManageNodes = Annotated[Principal, requires(Permission.MANAGE_NODES)]
MayRunJobs = Annotated[Principal, requires(Permission.RUN_JOBS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.get("")
def nodes(
    _: MayReadNodes, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[Node]:
    """Return the remote nodes, in the order in which they were added."""
    return work.nodes.nodes(cursor, limit)


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(HTTPStatus.CONFLICT))
def add(response: Response, by: MayManageNodes, work: InWork, body: NodeSettings) -> Node:
    """Add a remote node."""
    node = work.nodes.add(by, body)
    response.headers["Location"] = f"{router.prefix}/{node.id}"
    return node


@router.post("/test", status_code=HTTPStatus.CREATED)
def test_all(by: MayRunJobs, work: InWork) -> NodeTests:
    """Send a C-ECHO to each remote node in use; their `last_test` keeps what was found."""
    return work.jobs.test_all(by)


@router.get("/{node_id}", responses=NOT_FOUND)
def node(_: MayReadNodes, work: InWork, node_id: RowId) -> Node:
    """Return one remote node."""
    return work.nodes.node(node_id)


@router.put("/{node_id}", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def replace(by: MayManageNodes, work: InWork, node_id: RowId, body: NodeSettings) -> Node:
    """Replace all settings of a remote node; omitted ones get their default."""
    return work.nodes.replace(by, node_id, body)


@router.delete(
    "/{node_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def remove(by: MayManageNodes, work: InWork, node_id: RowId) -> None:
    """Delete a remote node; its finished jobs remain."""
    work.nodes.remove(by, node_id)


@router.post(
    "/{node_id}/test",
    status_code=HTTPStatus.CREATED,
    responses=responses(HTTPStatus.NOT_FOUND),
)
def test(response: Response, by: MayRunJobs, work: InWork, node_id: RowId) -> JobWithAttempts:
    """Send a C-ECHO; the job has the result, and the node's `last_test` keeps it."""
    work.nodes.node(node_id)
    job = work.jobs.create(by, NewEcho(kind="echo", node_id=node_id, priority=1))
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@router.post(
    "/{node_id}/probe",
    status_code=HTTPStatus.CREATED,
    responses=responses(HTTPStatus.NOT_FOUND),
)
def probe(response: Response, by: MayRunJobs, work: InWork, node_id: RowId) -> JobWithAttempts:
    """Find out which services the node accepts; the node's `capabilities` keep them."""
    work.nodes.node(node_id)
    job = work.jobs.create(by, NewProbe(kind="probe", node_id=node_id, priority=1))
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@router.post("/{node_id}/pause", responses=NOT_FOUND)
def pause(by: MayManageNodes, work: InWork, node_id: RowId) -> Node:
    """Make the jobs of this node wait; running ones continue, and the node can still be tested."""
    return work.nodes.pause(by, node_id, paused=True)


@router.post("/{node_id}/resume", responses=NOT_FOUND)
def resume(by: MayManageNodes, work: InWork, node_id: RowId) -> Node:
    """Let the jobs of this node continue."""
    return work.nodes.pause(by, node_id, paused=False)


@router.post("/{node_id}/pin", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def pin(by: MayManageNodes, work: InWork, node_id: RowId, body: NewPin) -> Node:
    """Trust this node only by this certificate, whoever signed it and whatever it names."""
    return work.nodes.pin(by, node_id, body.fingerprint)


@router.delete("/{node_id}/find-limit", responses=NOT_FOUND)
def forget_find_limit(by: MayManageNodes, work: InWork, node_id: RowId) -> Node:
    """Forget after how many matches the node stops; the next query finds it again."""
    return work.nodes.forget_find_limit(by, node_id)
