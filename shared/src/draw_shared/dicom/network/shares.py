"""Who of several peers gets the next of few places, so that none can keep the others out.

Most places go to whoever comes first: one peer alone may have them all. Those that are reserved
beyond them go to a peer only while it has fewer than there are reserved ones left, so that the
last is never taken by somebody who has one. How deep a peer may reach into them depends on how
hard it is to be somebody else: a third is for any other AE title, because peers may share an
address (NAT, a terminal server); a second third needs another address, because a title is
easily made up; all are for AE titles on the list, from where they are expected. Whoever has to
wait stands in line; who has least goes first.
"""

import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

UNLISTED_PARTS: Final = (1, 2)
"""Thirds of the reserve for another AE title, and for another address."""
PARTS: Final = 3


class Claimant(NamedTuple):
    """Who asks for a place."""

    address: str
    ae_title: str
    listed: bool
    """Whether it is an allowed AE title that calls from where it is expected."""


class Limits(NamedTuple):
    """How many places there are."""

    places: int
    reserved: int
    """Beyond `places`."""
    per_address: int = 0
    """At most so many for one address; 0: no limit of its own."""
    per_ae_title: int = 0


class ShareShortage(Enum):
    """Why there is no place."""

    OF_ADDRESS = auto()
    OF_AE_TITLE = auto()
    OF_SHARE = auto()
    """The peer has its share; others would get a place."""
    OF_PLACES = auto()


class SharedPlace:
    """What somebody has or waits for."""

    __slots__ = ("_settled", "claimant", "taken", "waiting")

    def __init__(self, claimant: Claimant) -> None:
        self.claimant = claimant
        self.taken = False
        self.waiting = False
        self._settled: threading.Event | None = None

    def settle(self, *, taken: bool) -> None:
        """Let whoever waits for it go on."""
        self.taken = taken
        self.waiting = False
        if self._settled is not None:
            self._settled.set()

    def stand_in_line(self) -> None:
        """Wait from now on; what is taken at once, as a rule, needs nothing to wait for."""
        self.waiting = True
        self._settled = threading.Event()

    def wait(self, seconds: float) -> None:
        """Return when it was taken or given up, or when the time is over."""
        if self._settled is not None:
            self._settled.wait(seconds)


class Shares:
    """Counts the places that peers have, for all threads.

    Args:
        limits: how many there are now.
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
        """Return a place that is taken, or stands in line."""
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
        """Wait for a place and return why it cannot be had, None when it is taken.

        One that was not taken in time stands in line no more.
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
        """Take a place back, or give up waiting for it; once more does no harm."""
        with self._lock:
            if place.taken:
                place.taken = False
                self._count(place.claimant, -1)
                self._serve_line()
            else:
                self._leave_line(place)

    def _lacks(self, claimant: Claimant, limits: Limits) -> ShareShortage | None:
        """Return what stands between somebody and a place."""
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
        # Who has all of the others' places gets none of these, however few there are.
        if any(has < min(free, limits.places) for has, free in left):
            return None
        return (
            ShareShortage.OF_SHARE if any(free > 0 for _, free in left) else ShareShortage.OF_PLACES
        )

    def _serve_line(self) -> None:
        """Give what is free to those in line: who has least first, then who came first."""
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
        """Return how many places its address and its AE title have."""
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
    """Return as what an AE title counts: nobody uses one up from where it is not expected."""
    return claimant.ae_title, claimant.listed
