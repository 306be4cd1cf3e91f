"""Whose budget a request counts against, without asking the database.

Credentials that were right before stand for their user, all others for the address that they
come from: so it does no good to invent some.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

MOST_REMEMBERED: Final = 10_000


class Callers:
    """Remembers whose credentials were right, so that a queue knows it without the database.

    That they were once right lets nobody in; it only says whose budget a request counts against.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def remember(self, credential: str, user_id: int) -> None:
        """Let this credential stand for its user."""
        digest = _digest(credential)
        with self._lock:
            self._known[digest] = user_id
            self._known.move_to_end(digest)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)

    def user(self, credential: str) -> int | None:
        """Return for whom it stands, if for anybody."""
        with self._lock:
            return self._known.get(_digest(credential))


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode(errors="replace")).digest()
