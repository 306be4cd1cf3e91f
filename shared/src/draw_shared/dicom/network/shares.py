"""Divides a limited number of places among peers, so that no peer can keep the others out.

Most places are free for all: one peer may hold every one of them. Beyond them there are reserved
places. A peer gets one only while it holds fewer places than reserved ones are left, so a peer
that already holds one never gets the last. How many of the reserved places a peer can reach
depends on how hard its identity is to fake: one third is open to any other AE title, because
peers may share an address (NAT, a terminal server); a second third requires another address,
because a title is easily made up; all are open to listed AE titles that call from the expected
address. Requests that cannot be met wait in a queue; the peer that holds the fewest places is
served first.

Concurrency: any thread asks, waits and gives back; one lock guards the counts, and nothing waits
while it holds the lock. The counts live in the memory of one process and are lost with it.
"""

import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

UNLISTED_PARTS: Final = (1, 2)
"""Thirds of the reserve that another AE title can reach, and that another address can reach."""
PARTS: Final = 3


class Claimant(NamedTuple):
    """The peer that asks for a place."""

    address: str
    ae_title: str
    listed: bool
    """Whether its AE title is listed and it calls from the expected address."""


class Limits(NamedTuple):
    """How many places there are."""

    places: int
    reserved: int
    """In addition to `places`."""
    per_address: int = 0
    """Largest number for one address; 0 means no limit."""
    per_ae_title: int = 0


class ShareShortage(Enum):
    """Why there is no place."""

    OF_ADDRESS = auto()
    OF_AE_TITLE = auto()
    OF_SHARE = auto()
    """The peer has its share; others would get a place."""
    OF_PLACES = auto()


class SharedPlace:
    """A place that a peer holds or waits for."""

    __slots__ = ("_settled", "claimant", "taken", "waiting")

    def __init__(self, claimant: Claimant) -> None:
        self.claimant = claimant
        self.taken = False
        self.waiting = False
        self._settled: threading.Event | None = None

    def settle(self, *, taken: bool) -> None:
        """Record the outcome and wake the thread that waits for it."""
        self.taken = taken
        self.waiting = False
        if self._settled is not None:
            self._settled.set()

    def stand_in_line(self) -> None:
        """Begin to wait; a place that is taken at once needs no event."""
        self.waiting = True
        self._settled = threading.Event()

    def wait(self, seconds: float) -> None:
        """Return when the place was taken or given up, or after `seconds`."""
        if self._settled is not None:
            self._settled.wait(seconds)


class Shares:
    """Counts the places that peers hold, for all threads.

    Args:
        limits: returns the limits in force.
    """

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._held = 0
        self._by_address: Counter[str] = Counter()
        self._by_title: Counter[tuple[str, bool]] = Counter()
        self._line: list[SharedPlace] = []

    @property
    def held(self) -> int:
        """How many places are taken."""
        return self._held

    def ask(self, claimant: Claimant) -> SharedPlace:
        """Return a place that is taken, or that waits in the queue."""
        place = SharedPlace(claimant)
        with self._lock:
            self._serve_line()
            if self._lacks(claimant, self._limits()) is None:
                self._take(place)
            else:
                place.stand_in_line()
                self._line.append(place)
        return place

    def wait(self, place: SharedPlace, seconds: float) -> ShareShortage | None:
        """Wait for a place, and return None when it is taken, or why it cannot be had.

        A place that was not taken in time leaves the queue.
        """
        if place.waiting:
            place.wait(seconds)
        with self._lock:
            if place.taken:
                return None
            lacks = self._lacks(place.claimant, self._limits())
            if place.waiting and lacks is None:
                self._take(place)
                return None
            self._leave_line(place)
            return lacks or ShareShortage.OF_PLACES

    def give_back(self, place: SharedPlace) -> None:
        """Return a place, or stop waiting for it; calling this twice is harmless."""
        with self._lock:
            if place.taken:
                place.taken = False
                self._count(place.claimant, -1)
                self._serve_line()
            else:
                self._leave_line(place)

    def _lacks(self, claimant: Claimant, limits: Limits) -> ShareShortage | None:
        """Return why a peer cannot have a place now, or None if it can."""
        address, title = self._has(claimant)
        if limits.per_address and address >= limits.per_address:
            return ShareShortage.OF_ADDRESS
        if limits.per_ae_title and title >= limits.per_ae_title:
            return ShareShortage.OF_AE_TITLE
        if self._held < limits.places:
            return None
        titles, addresses = (limits.reserved * part // PARTS for part in UNLISTED_PARTS)
        reach = [(title, titles), (address, addresses)]
        if claimant.listed:
            reach.append((title, limits.reserved))
        left = [(has, limits.places + depth - self._held) for has, depth in reach]
        # A peer that holds all unreserved places gets no reserved one, however few there are.
        if any(has < min(free, limits.places) for has, free in left):
            return None
        return (
            ShareShortage.OF_SHARE if any(free > 0 for _, free in left) else ShareShortage.OF_PLACES
        )

    def _serve_line(self) -> None:
        """Give free places to the queue: the peer with the fewest first, then the longest wait."""
        if not self._line:
            return
        limits = self._limits()
        while True:
            able = [place for place in self._line if self._lacks(place.claimant, limits) is None]
            if not able:
                return
            self._take(min(able, key=self._weight))

    def _weight(self, place: SharedPlace) -> int:
        address, title = self._has(place.claimant)
        return title if place.claimant.listed else address

    def _has(self, claimant: Claimant) -> tuple[int, int]:
        """Return how many places the peer's address and its AE title hold."""
        return self._by_address[claimant.address], self._by_title[_title(claimant)]

    def _take(self, place: SharedPlace) -> None:
        self._count(place.claimant, 1)
        if place.waiting:
            self._line.remove(place)
        place.settle(taken=True)

    def _leave_line(self, place: SharedPlace) -> None:
        if place.waiting:
            self._line.remove(place)
            place.settle(taken=False)

    def _count(self, claimant: Claimant, by: int) -> None:
        self._held += by
        self._by_address[claimant.address] += by
        self._by_title[_title(claimant)] += by
        if not self._by_address[claimant.address]:
            del self._by_address[claimant.address]
        if not self._by_title[_title(claimant)]:
            del self._by_title[_title(claimant)]


def _title(claimant: Claimant) -> tuple[str, bool]:
    """Return the title to count: an unexpected caller does not use up a listed one."""
    return claimant.ae_title, claimant.listed
