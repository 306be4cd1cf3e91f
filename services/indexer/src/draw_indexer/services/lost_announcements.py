"""Finds objects that were announced, are not in the index and are on no way there; announces them.

The broker may lose what it has confirmed, with its disk or by somebody's hand. What was announced
is on record on the storage volume (`draw_shared.storage.announced`). Each look compares the
oldest records with the index and removes those of which nothing is missing. What is missing is
under way as a rule: in the queue, in the hands of a consumer, or waiting to be tried again. It
counts as lost when it was missing in several looks, one after the other, in which the queue was
short: what waited at the first of them was taken long before the last. Looks are counted, not
seconds: clocks step, and processes are halted.

Nothing is lost by being wrong: an object that is announced twice gives the same rows. But a
queue that is long only because much comes must not grow by what waits in it anyway, and what
does not come although it was announced again is announced less and less often.
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
"""Records that one look reads at most; the others come when these are settled."""
OBJECTS_AT_ONCE: Final = 2_000
"""Objects that one statement asks for, and one record more."""
SHORT_QUEUE: Final = 100
"""Messages, each with up to some dozens of objects, that consumers take within seconds."""
LOOKS: Final = 4
"""In how many looks something has to be missing."""
MOST_DOUBLINGS: Final = 5
"""How often these become twice as many, for what was announced again in vain."""
IDENTIFIERS_PER_LINE: Final = 200
"""Log drivers cut lines of more than 16 KiB."""


Lost = tuple[Announced, Sequence[InstanceStoredV1]]
"""A record, and what of it is lost."""


class LostAnnouncementService:
    """The use case; called again and again, by every indexer.

    Args:
        consuming: whether announcements can come to this process now. While nobody takes
            them, nothing can be said of what does not come.
        looks_later: looks after which what is tried again has come, or is dead.
        recently: what this process has indexed; the index is not asked for it.
    """

    def __init__(
        self,
        records: AnnouncementRecords,
        index: AnnouncedObjectRepository,
        broker: AnnouncementBroker,
        consuming: Callable[[], bool],
        announced_again: Callable[[int], None],
        looks_later: int,
        recently: RecentlyIndexed,
    ) -> None:
        self._records = records
        self._index = index
        self._broker = broker
        self._consuming = consuming
        self._announced_again = announced_again
        self._looks_later = looks_later
        self._recently = recently
        self._looks: dict[str, int] = {}
        """In how many looks in a row each record was there while the queue was short."""
        self.objects = 0
        """Objects that the last look has found lost, or announced again and still missing."""

    def look(self) -> None:
        """Do it once.

        Raises:
            Transient: the database or the broker does not answer; nothing was forgotten.
        """
        if not self._consuming():
            self._looks.clear()
            self.objects = 0
            return
        try:
            with self._index.looking() as rows:
                self.objects = self._compare(rows) if rows is not None else 0
        except Transient:
            # Consumers wait for the same, with what they have taken in their hands.
            self._looks.clear()
            raise

    def _compare(self, rows: AnnouncedObjectLookup) -> int:
        """Return how many objects are lost, or were and are not back."""
        under_way = self._broker.under_way()
        short = under_way.waiting <= SHORT_QUEUE
        found = 0
        due = [name for name in self._due(short=short) if not self._settled(name)]
        for portion in self._portions(due):
            missing = {
                one.event_id for one in rows.missing([o for r in portion for o in r.objects])
            }
            lost: list[Lost] = []
            waiting = False
            for record in portion:
                lacking = [one for one in record.objects if one.event_id in missing]
                if not lacking:
                    self._records.settle(record)
                elif self._looks[record.name] >= self._patience(record, under_way):
                    lost.append((record, lacking))
                else:
                    waiting = True
                    found += len(lacking) if record.tries else 0
            found += self._announce_again(lost)
            # What was announced later waits behind it.
            if waiting and not short:
                break
        return found

    def _due(self, *, short: bool) -> list[str]:
        """Count this look, and return the records that were there in the last one already."""
        before = self._looks
        names = self._records.names(RECORDS_AT_ONCE)
        self._looks = {name: before.get(name, 0) + 1 if short else 0 for name in names}
        return [name for name in names if name in before]

    def _settled(self, name: str) -> bool:
        """Remove a record if this process has indexed all of it; return whether it did."""
        lines = self._records.lines(name)
        indexed = bool(lines) and self._recently.has_all(lines)
        if indexed:
            self._records.remove(name)
        return indexed

    def _portions(self, names: Sequence[str]) -> Iterator[list[Announced]]:
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

    def _patience(self, record: Announced, under_way: UnderWay) -> int:
        """Return in how many looks something of a record has to be missing to be lost."""
        looks = LOOKS << min(record.tries, MOST_DOUBLINGS)
        return max(looks, self._looks_later) if under_way.later else looks

    def _announce_again(self, lost: Sequence[Lost]) -> int:
        """Announce what is lost, except what people know of; return how many objects that are."""
        if not lost:
            return 0
        dead = self._broker.dead()
        number = 0
        for record, lacking in lost:
            again = [one for one in lacking if one.event_id not in dead]
            number += len(again)
            if again:
                # First: what cannot be put off is not announced in each look.
                self._looks[self._records.postpone(record)] = 0
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
