"""Remembers the names that a receiver has given recently."""

import os
import threading
from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 20_000


class Sequence:
    """Counts sequential file numbers in recently used folders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: OrderedDict[str, int] = OrderedDict()

    def next_in(self, folder: str) -> int:
        """Return the next number of a folder; no other caller gets the same one."""
        with self._lock:
            if folder not in self._next:
                self._next[folder] = _highest_number(folder) + 1
                if len(self._next) > MAX_REMEMBERED:
                    self._next.popitem(last=False)
            number = self._next[folder]
            self._next[folder] = number + 1
            return number


class RecentPaths:
    """Remembers the paths of recently received objects.

    Where names depend on the time of arrival, only this reveals that a sender repeats an object
    for which it got no answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: OrderedDict[tuple[str, str], str] = OrderedDict()

    def path_of(self, sop_instance_uid: str, digest: str) -> str:
        """Return the path of these bytes of an object; empty if it is not remembered."""
        return self._paths.get((sop_instance_uid, digest), "")

    def remember(self, sop_instance_uid: str, digest: str, path: str) -> None:
        """Remember the path of these bytes of an object."""
        with self._lock:
            self._paths[sop_instance_uid, digest] = path
            if len(self._paths) > MAX_REMEMBERED:
                self._paths.popitem(last=False)


def _highest_number(folder: str) -> int:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a folder may have very many
    except FileNotFoundError:
        return 0
    stems = (name.removesuffix(".dcm") for name in names)
    return max((int(stem) for stem in stems if stem.isascii() and stem.isdigit()), default=0)
