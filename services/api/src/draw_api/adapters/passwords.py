"""Password hashes (argon2id, RFC 9106) and the count of failed attempts."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from draw_api.models.failures import TooManyAttempts

MOST_AT_ONCE: Final = 2
"""Each hash takes 64 MiB: many sign-ins at once must wait, not exhaust the memory."""

NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4"
    "$hm9OBAO1gmEBN+0pSLDb8g$zqVBK+htenZt8n10pXSxW95vW/9x6n5lfa6K3vF+q+s"
)
"""Of no password that anybody has: what a name that is not known is compared with. To make one
would take a fifth of a second of each start."""

WINDOW_SECONDS: Final = 60.0
MOST_FAILURES_PER_NAME: Final = 5
MOST_FAILURES_PER_ADDRESS: Final = 20
MOST_REMEMBERED: Final = 10_000


class Argon2Passwords:
    """Hashes with argon2id, a few at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)

    def hash(self, password: str) -> str:
        """Return what is kept of the password."""
        with self._slots:
            return self._hasher.hash(password)

    def matches(self, password_hash: str, password: str) -> bool:
        """Return whether this is the password; an empty hash takes as long and is False."""
        with self._slots:
            try:
                self._hasher.verify(password_hash or NOBODYS, password)
            except (VerificationError, InvalidHashError):
                return False
        return bool(password_hash)

    def outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)


class FailedAttempts:
    """Counts failures of the last minute, per name and address and per address.

    A name alone is not counted, so that nobody can lock another out from elsewhere. Each
    replica counts for itself: with several, the limits are that many times higher.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, str], deque[float]] = {}

    def require_allowed(self, name: str, address: str) -> None:
        """Return, or raise TooManyAttempts."""
        with self._lock:
            now = self._monotonic()
            wait = max(
                self._wait((name, address), MOST_FAILURES_PER_NAME, now),
                self._wait(("", address), MOST_FAILURES_PER_ADDRESS, now),
            )
        if wait > 0:
            raise TooManyAttempts(int(wait) + 1)

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        with self._lock:
            now = self._monotonic()
            if len(self._failures) >= MOST_REMEMBERED:
                self._forget_old(now)
            for key in ((name, address), ("", address)):
                self._failures.setdefault(key, deque(maxlen=MOST_FAILURES_PER_ADDRESS)).append(now)

    def succeeded(self, name: str, address: str) -> None:
        """Forget this name's failures from this address."""
        with self._lock:
            self._failures.pop((name, address), None)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        times = self._failures.get(key)
        if times is None:
            return 0.0
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if not times:
            del self._failures[key]
            return 0.0
        return times[-most] + WINDOW_SECONDS - now if len(times) >= most else 0.0

    def _forget_old(self, now: float) -> None:
        for key, times in list(self._failures.items()):
            if times[-1] <= now - WINDOW_SECONDS:
                del self._failures[key]
        if len(self._failures) >= MOST_REMEMBERED:
            self._failures.clear()
