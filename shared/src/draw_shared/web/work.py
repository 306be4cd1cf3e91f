"""Runs one request as one transaction.

The transaction begins before the route runs, and is committed after the route has returned and
before the answer is sent, so that an answer never promises what was rolled back.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Protocol

from fastapi import Depends, Request

from draw_shared.access.authentication import Authentication


class AuthenticatingWork(Protocol):
    """The use cases of one request; among them it is known who asks."""

    @property
    def authentication(self) -> Authentication:
        """Tells who a caller is."""


AuthenticatingWorkFactory = Callable[[], AbstractContextManager[AuthenticatingWork]]
"""Opens a transaction; leaving it without an exception commits."""


def transaction(request: Request) -> Iterator[AuthenticatingWork]:
    """Yield what the application's state makes of a request."""
    factory: AuthenticatingWorkFactory = request.app.state.work
    with factory() as work:
        yield work


InAuthenticatingWork = Annotated[AuthenticatingWork, Depends(transaction, scope="function")]
