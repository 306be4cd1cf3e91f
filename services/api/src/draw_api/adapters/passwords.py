"""Password hashes (argon2id, RFC 9106) and the count of failed attempts."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Self

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from typing_extensions import override

from draw_api.ports.access import Passwords, SignInAttempt, SignInAttempts
from draw_shared.addresses import budget_key
from draw_shared.contracts.failures import TooManyAttempts

MAX_PARALLEL_HASHES: Final = 2
"""Each hash takes 64 MiB: many sign-ins at once must wait instead of exhausting the memory."""

NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4"
    "$hm9OBAO1gmEBN+0pSLDb8g$zqVBK+htenZt8n10pXSxW95vW/9x6n5lfa6K3vF+q+s"
)
"""A hash that matches nobody's password; sign-ins with unknown names are compared with it.

It is a constant because computing it would add a fifth of a second to each start.
"""

FAILURE_WINDOW_SECONDS: Final = 60.0
MAX_FAILURES_PER_NAME: Final = 5
MAX_FAILURES_PER_ADDRESS: Final = 20
MAX_REMEMBERED: Final = 10_000
MIN_RETRY_SECONDS: Final = 1.0
"""The delay before another attempt, if those under way may all fail."""


class Argon2Passwords(Passwords):
    """Hashes with argon2id, a few at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._slots = threading.BoundedSemaphore(MAX_PARALLEL_HASHES)

    @override
    def hash(self, password: str) -> str:
        with self._slots:
            return self._hasher.hash(password)

    @override
    def matches(self, password_hash: str, password: str) -> bool:
        with self._slots:
            try:
                self._hasher.verify(password_hash or NOBODYS, password)
            except (VerificationError, InvalidHashError):
                return False
        return bool(password_hash)

    @override
    def outdated(self, password_hash: str) -> bool:
        return self._hasher.check_needs_rehash(password_hash)


class FailedAttempts(SignInAttempts):
    """Counts failures of the last minute, per name and address and per address.

    An attempt counts as failed from its start until it succeeds, so parallel attempts cannot exceed
    the limit. A name alone is not counted, so that nobody can lock out another user from elsewhere.
    An IPv6 network counts as one address, because one machine has all of it. Each replica counts by
    itself: with several replicas the limits are that many times higher.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, str], deque[float]] = {}
        self._under_way: Counter[tuple[str, str]] = Counter()

    @override
    def begin(self, name: str, address: str) -> "CountedAttempt":
        source = budget_key(address)
        keys = ((name, source), ("", source))
        with self._lock:
            now = self._monotonic()
            wait = max(
                self._wait(keys[0], MAX_FAILURES_PER_NAME, now),
                self._wait(keys[1], MAX_FAILURES_PER_ADDRESS, now),
            )
            if wait <= 0:
                self._under_way.update(keys)
        if wait > 0:
            raise TooManyAttempts(int(wait) + 1)
        return CountedAttempt(self, keys)

    def end(self, keys: Sequence[tuple[str, str]], *, succeeded: bool | None) -> None:
        """Record how an attempt has ended; None: it could not be made."""
        with self._lock:
            self._under_way.subtract(keys)
            for key in keys:
                if not self._under_way[key]:
                    del self._under_way[key]
            if succeeded:
                self._failures.pop(keys[0], None)
            if succeeded is not False:
                return
            now = self._monotonic()
            if len(self._failures) >= MAX_REMEMBERED:
                self._forget_old(now)
            for key in keys:
                self._failures.setdefault(key, deque(maxlen=MAX_FAILURES_PER_ADDRESS)).append(now)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        """Return in how many seconds the next attempt may be made; 0 means now."""
        times = self._failures.get(key, ())
        failed = [at for at in times if at > now - FAILURE_WINDOW_SECONDS]
        left = most - len(failed)
        if left <= 0:
            return failed[-most] + FAILURE_WINDOW_SECONDS - now
        return MIN_RETRY_SECONDS if self._under_way[key] >= left else 0.0

    def _forget_old(self, now: float) -> None:
        """Make room: first drop old failures, then the names with the oldest ones."""
        newest = sorted((times[-1], key) for key, times in self._failures.items())
        for number, (at, key) in enumerate(newest):
            if at > now - FAILURE_WINDOW_SECONDS and number >= MAX_REMEMBERED // 10:
                return
            del self._failures[key]


class CountedAttempt(SignInAttempt):
    """One attempt under way."""

    def __init__(self, attempts: FailedAttempts, keys: Sequence[tuple[str, str]]) -> None:
        self._attempts = attempts
        self._keys = keys
        self._succeeded = False

    @override
    def succeed(self) -> None:
        self._succeeded = True

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._attempts.end(self._keys, succeeded=None if error else self._succeeded)
