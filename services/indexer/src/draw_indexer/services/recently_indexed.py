"""Remembers which announcements this process has indexed, to save queries to the index.

An announcement is identified by its event and the time of its reception. Every version of the
message has both, and they are found without parsing the rest. If the same object is received again,
for instance after a deletion, it is another announcement. Concurrency: consumers add, another
thread asks. Forgetting is harmless: the index itself is asked then.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

MAX_REMEMBERED: Final = 20_000
"""Some seconds of the fastest reception, between two checks of the records; 4 MB."""
# Inside a JSON string a quotation mark has a backslash before it.
EVENT_ID: Final = re.compile(rb'"event_id":"([^"]+)"')
OCCURRED_AT: Final = re.compile(rb'"occurred_at":"([^"]+)"')


class RecentlyIndexed:
    """The latest announcements whose objects are all in the index."""

    def __init__(self) -> None:
        self._receptions: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, announcements: Iterable[bytes]) -> None:
        """Remember announcements once their transaction is committed."""
        receptions = [reception for one in announcements if (reception := _reception(one))]
        with self._lock:
            self._receptions.update(dict.fromkeys(receptions))
            while len(self._receptions) > MAX_REMEMBERED:
                self._receptions.popitem(last=False)

    def has_all(self, announcements: Iterable[bytes]) -> bool:
        """Return whether all of these are remembered."""
        receptions = [_reception(one) for one in announcements]
        with self._lock:
            return all(reception in self._receptions for reception in receptions)

    def forget(self) -> None:
        """Forget all, because a database that was away may come back without its latest commits."""
        with self._lock:
            self._receptions.clear()


def _reception(announcement: bytes) -> bytes:
    """Return what identifies a reception; empty if it is not found."""
    event_id, occurred_at = EVENT_ID.search(announcement), OCCURRED_AT.search(announcement)
    return event_id[1] + occurred_at[1] if event_id and occurred_at else b""
