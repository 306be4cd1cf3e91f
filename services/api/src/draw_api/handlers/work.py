"""One request is one transaction: what a route works with, and when it is committed.

The transaction begins before the route runs and is committed after it has returned and
before the answer is sent, so that an answer never promises what was rolled back.
Wake-ups for other processes leave after the commit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from draw_api.services.access import Access
from draw_api.services.activity import Activity
from draw_api.services.archive import Archive
from draw_api.services.batch_queries import BatchQueries
from draw_api.services.config import Configuration
from draw_api.services.conflicts import Conflicts
from draw_api.services.control import ServiceControl
from draw_api.services.dead_letters import DeadLetterService
from draw_api.services.jobs import Jobs
from draw_api.services.nodes import Nodes
from draw_api.services.objects import Objects
from draw_api.services.peers import Peers
from draw_api.services.queries import Queries
from draw_api.services.retrieves import Retrieves
from draw_api.services.single_sign_on import ExternalAccess
from draw_api.services.status import StatusReport
from draw_api.services.storage import StorageCare
from draw_api.services.transactions import Transactions
from draw_api.services.users import Users
from draw_api.services.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Work:
    """The use cases of one request, all in the same transaction."""

    access: Access
    external_access: ExternalAccess
    activity: Activity
    archive: Archive
    batch_queries: BatchQueries
    configuration: Configuration
    conflicts: Conflicts
    control: ServiceControl
    dead_letters: DeadLetterService
    jobs: Jobs
    nodes: Nodes
    objects: Objects
    peers: Peers
    queries: Queries
    retrieves: Retrieves
    status: StatusReport
    storage: StorageCare
    transactions: Transactions
    users: Users
    webhooks: Webhooks


WorkFactory = Callable[[], AbstractContextManager[Work]]
"""Opens a transaction; leaving it without an exception commits."""


def _transaction(request: Request) -> Iterator[Work]:
    factory: WorkFactory = request.app.state.work
    with factory() as work:
        yield work


InWork = Annotated[Work, Depends(_transaction, scope="function")]
