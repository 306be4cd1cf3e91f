"""Finds announced objects that never reach the index, and announces them again.

The broker can lose confirmed messages, with its disk or by an operator's mistake. A record of each
announcement is on the storage volume (`draw_shared.storage.announced`). Each check compares the
oldest records with the index and removes those whose objects are all indexed. A missing object is
usually on its way: in the queue, with a consumer, or waiting for a retry. It counts as lost when it
was missing in several consecutive checks with a short queue: a message that waited at the first
check was delivered long before the last. Checks are counted, not seconds, because clocks step and
processes are suspended.

A wrong guess does no harm: announcing an object twice gives the same rows. But a queue that is long
because much arrives must not grow by messages that it already holds. Therefore nothing is announced
again while the queue is long, and an object that stays missing is announced less and less often.

Concurrency: a timer thread of every indexer calls this; a lock lets one process compare at a time.
The counts of checks are in memory only: if the process dies, another one starts to count again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from draw_indexer.models import UnderWay
from draw_indexer.ports.lost_announcements import (
    AnnouncedObjectLookup,
    AnnouncedObjectRepository,
    AnnouncementBroker,
    AnnouncementRecords,
)
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.errors import Transient
from draw_shared.storage.announced import Announced

log = structlog.get_logger()

RECORDS_AT_ONCE: Final = 1_000
"""Records that one check reads at most; the others come when these are settled."""
OBJECTS_AT_ONCE: Final = 2_000
"""Objects in one statement; one further record may exceed it."""
SHORT_QUEUE: Final = 100
"""Messages, each with up to some dozens of objects, that consumers take within seconds."""
CHECKS_UNTIL_LOST: Final = 4
"""The number of checks in which an object must be missing."""
MAX_DOUBLINGS: Final = 5
"""How often that number doubles after repeated announcements in vain."""
IDENTIFIERS_PER_LINE: Final = 200
"""Log drivers cut lines of more than 16 KiB."""


Lost = tuple[Announced, Sequence[InstanceStoredV1]]
"""A record and its lost objects."""


class LostAnnouncementService:
    """Finds lost announcements; every indexer calls it repeatedly.

    Args:
        consuming: whether this process can receive announcements now. If nobody takes them, a
            missing object proves nothing.
        checks_later: the number of checks after which a retried message has arrived or is dead.
        recently: what this process has indexed; it saves asking the index.
    """

    def __init__(
        self,
        records: AnnouncementRecords,
        index: AnnouncedObjectRepository,
        broker: AnnouncementBroker,
        consuming: Callable[[], bool],
        announced_again: Callable[[int], None],
        checks_later: int,
        recently: RecentlyIndexed,
    ) -> None:
        self._records = records
        self._index = index
        self._broker = broker
        self._consuming = consuming
        self._announced_again = announced_again
        self._checks_later = checks_later
        self._recently = recently
        self._checks: dict[str, int] = {}
        """The number of consecutive checks with a short queue in which each record was there."""
        self.objects = 0
        """Objects that the last check found lost, or announced again and still missing."""

    def check(self) -> None:
        """Check once.

        Raises:
            Transient: the database or the broker does not answer; no record is removed.
        """
        if not self._consuming():
            self._checks.clear()
            self.objects = 0
            return
        try:
            with self._index.looking() as rows:
                self.objects = self._compare(rows) if rows is not None else 0
        except Transient:
            # Consumers are waiting as well, and hold messages that they cannot index.
            self._checks.clear()
            raise

    def _compare(self, rows: AnnouncedObjectLookup) -> int:
        """Return how many objects are lost, or were lost and are still missing."""
        under_way = self._broker.count_under_way()
        short = under_way.waiting <= SHORT_QUEUE
        found = 0
        due = [name for name in self._count_check(short=short) if not self._remove_if_indexed(name)]
        for portion in self._read_portions(due):
            missing = {
                one.event_id for one in rows.missing([o for r in portion for o in r.objects])
            }
            lost: list[Lost] = []
            waiting = False
            for record in portion:
                lacking = [one for one in record.objects if one.event_id in missing]
                if not lacking:
                    self._records.settle(record)
                elif self._checks[record.name] >= self._checks_until_lost(record, under_way):
                    lost.append((record, lacking))
                else:
                    waiting = True
                    found += len(lacking) if record.tries else 0
            found += self._announce_again(lost)
            # Later announcements wait behind this one.
            if waiting and not short:
                break
        return found

    def _count_check(self, *, short: bool) -> list[str]:
        """Count this check, and return the records that existed at the last one."""
        before = self._checks
        names = self._records.names(RECORDS_AT_ONCE)
        self._checks = {name: before.get(name, 0) + 1 if short else 0 for name in names}
        return [name for name in names if name in before]

    def _remove_if_indexed(self, name: str) -> bool:
        """Remove a record if this process has indexed all of it; return whether it did."""
        lines = self._records.lines(name)
        indexed = bool(lines) and self._recently.has_all(lines)
        if indexed:
            self._records.remove(name)
        return indexed

    def _read_portions(self, names: Sequence[str]) -> Iterator[list[Announced]]:
        portion: list[Announced] = []
        objects = 0
        for name in names:
            record = self._records.read(name)
            if record is None:
                continue
            portion.append(record)
            objects += len(record.objects)
            if objects >= OBJECTS_AT_ONCE:
                yield portion
                portion, objects = [], 0
        if portion:
            yield portion

    def _checks_until_lost(self, record: Announced, under_way: UnderWay) -> int:
        """Return the number of checks in which a record's object must be missing to be lost."""
        checks = CHECKS_UNTIL_LOST << min(record.tries, MAX_DOUBLINGS)
        return max(checks, self._checks_later) if under_way.later else checks

    def _announce_again(self, lost: Sequence[Lost]) -> int:
        """Announce lost objects except dead letters; return how many objects that are."""
        if not lost:
            return 0
        dead = self._broker.dead()
        number = 0
        for record, lacking in lost:
            again = [one for one in lacking if one.event_id not in dead]
            number += len(again)
            if again:
                # Postpone first: a record that cannot be postponed must not be announced at each
                # check.
                self._checks[self._records.postpone(record)] = 0
                self._announce(again)
            else:
                self._records.settle(record)
        return number

    def _announce(self, objects: Sequence[InstanceStoredV1]) -> None:
        said = [str(one.event_id) for one in objects[:IDENTIFIERS_PER_LINE]]
        try:
            self._broker.announce(objects)
        except Transient as error:
            log.warning("instances.not_announced_again", objects=len(objects), error=str(error))
        else:
            self._announced_again(len(objects))
            log.warning("instances.announced_again", objects=len(objects), event_ids=said)
