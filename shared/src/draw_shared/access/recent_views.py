"""Remembers recent views, so that the frames of one object give one line in the log.

A browser shows a cached picture for ten minutes without asking; a repeated view within that time
gives no further line either. Only committed views count, because a request that was rolled back has
shown nothing. Each replica remembers by itself, and may write one line more.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from typing_extensions import override

from draw_shared.access.principals import Principal

REPEAT_WINDOW_SECONDS: Final = 600.0
MAX_REMEMBERED: Final = 20_000
"""A view that is forgotten earlier gives another line when it is repeated."""

View = tuple[str, str, str, str]
"""Who, from which address, what, and its UID."""


class ViewRegister(Protocol):
    """The recent views of each user."""

    def first(self, by: Principal, what: str, uid: str) -> bool:
        """Return whether this view is not on record yet.

        It is on record once the transaction is committed.
        """


class RecentViews:
    """The recorded views, for all requests of this process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._views: OrderedDict[View, float] = OrderedDict()

    def knows(self, view: View) -> bool:
        """Return whether this view was recorded a short while ago."""
        with self._lock:
            since = self._views.get(view)
        return since is not None and self._monotonic() - since < REPEAT_WINDOW_SECONDS

    def remember(self, views: Iterable[View]) -> None:
        """Remember views that are now recorded."""
        now = self._monotonic()
        with self._lock:
            for view in views:
                self._views[view] = now
                self._views.move_to_end(view)
            while len(self._views) > MAX_REMEMBERED:
                self._views.popitem(last=False)


class CollectedViews(ViewRegister):
    """The views of one transaction."""

    def __init__(self, recent: RecentViews) -> None:
        self._recent = recent
        self._views: list[View] = []

    @override
    def first(self, by: Principal, what: str, uid: str) -> bool:
        view = by.actor, by.address, what, uid
        if view in self._views or self._recent.knows(view):
            return False
        self._views.append(view)
        return True

    def remember(self) -> None:
        """Remember the collected views: the transaction is committed."""
        if self._views:
            self._recent.remember(self._views)
