"""Finds whose budget a request counts against, without asking the database.

Credentials that were valid before count for their user, all others for the address that they come
from, so inventing credentials does not help.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 10_000


class Callers:
    """Remembers which credentials were valid, so that queues know the user without the database.

    An earlier validity grants no access; it only tells whose budget a request counts against.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def remember(self, credential: str, user_id: int) -> None:
        """Count this credential for its user."""
        digest = _digest(credential)
        with self._lock:
            self._known[digest] = user_id
            self._known.move_to_end(digest)
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)

    def user(self, credential: str) -> int | None:
        """Return the user of a credential, if known."""
        with self._lock:
            return self._known.get(_digest(credential))


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode(errors="replace")).digest()
