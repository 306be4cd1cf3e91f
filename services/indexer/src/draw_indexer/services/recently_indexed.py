"""Remembers which announcements this process has indexed, so that nobody asks the index again.

An announcement is recognised by its bytes: the same object that is received again, after it
was deleted for instance, is another announcement. Concurrency: consumers add, another thread
asks. Nothing depends on what is forgotten: the index itself is asked then.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

MAX_REMEMBERED: Final = 20_000
"""Some seconds of the fastest reception, between two looks at the records; 3 MB."""
DIGEST_BYTES: Final = 16


class RecentlyIndexed:
    """Announcements of which the index has everything, the latest ones."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, announcements: Iterable[bytes]) -> None:
        """Remember announcements once their transaction is committed."""
        digests = [_digest(one) for one in announcements]
        with self._lock:
            self._digests.update(dict.fromkeys(digests))
            while len(self._digests) > MAX_REMEMBERED:
                self._digests.popitem(last=False)

    def has_all(self, announcements: Iterable[bytes]) -> bool:
        """Return whether all of these are remembered."""
        digests = [_digest(one) for one in announcements]
        with self._lock:
            return all(digest in self._digests for digest in digests)

    def forget(self) -> None:
        """Forget all, because a database that was away may come back without its latest commits."""
        with self._lock:
            self._digests.clear()


def _digest(announcement: bytes) -> bytes:
    return blake2b(announcement, digest_size=DIGEST_BYTES).digest()
