"""When objects count as lost, and when they are announced again; with fakes all around.

What the index has and what the broker holds is in tests/integration/indexer.
"""

from contextlib import contextmanager

import pytest

from draw_indexer.models import UnderWay
from draw_indexer.services import lost_announcements as module
from draw_indexer.services.lost_announcements import CHECKS_UNTIL_LOST, LostAnnouncementService
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_shared.errors import Transient
from draw_shared.storage.announced import Announced
from support.publishing import announcement

LATER = 9 * CHECKS_UNTIL_LOST


class FakeRecords:
    """Records in memory; names sort by the time of the last announcement."""

    def __init__(self):
        self.held = {}
        self._number = 0

    def keep(self, *objects, tries=0):
        self._number += 1
        name = f"{self._number:04}"
        self.held[name] = Announced(name, tries, objects)
        return name

    def names(self, most):
        return sorted(self.held)[:most]

    def read(self, name):
        return self.held.get(name)

    def lines(self, name):
        return [one.to_bytes() for one in self.held[name].objects]

    def remove(self, name):
        del self.held[name]

    def postpone(self, record):
        del self.held[record.name]
        return self.keep(*record.objects, tries=record.tries + 1)

    def settle(self, record):
        del self.held[record.name]


class FakeIndex:
    """An index that has what is put into it."""

    def __init__(self):
        self.rows = set()
        self.asked = []
        self.away = self.taken = False

    @contextmanager
    def looking(self):
        if self.away:
            raise Transient("the database is away")
        yield None if self.taken else self

    def missing(self, objects):
        self.asked += objects
        return [one for one in objects if one.event_id not in self.rows]


class FakeBroker:
    """Queues of a given length."""

    def __init__(self):
        self.waiting = self.later = 0
        self.letters = set()
        self.announced = []
        self.refuses = False

    def count_under_way(self):
        return UnderWay(self.waiting, self.later)

    def dead(self):
        return self.letters

    def announce(self, objects):
        if self.refuses:
            raise Transient("the broker takes nothing")
        self.announced.append(list(objects))


class Looking:
    """The use case and all around it."""

    def __init__(self):
        self.records, self.index, self.broker = FakeRecords(), FakeIndex(), FakeBroker()
        self.consuming = True
        self.counted = 0
        self.recently = RecentlyIndexed()
        self.use_case = LostAnnouncementService(
            self.records,
            self.index,
            self.broker,
            lambda: self.consuming,
            self._count,
            LATER,
            self.recently,
        )

    def _count(self, objects):
        self.counted += objects

    def check(self, times=1):
        for _ in range(times):
            self.use_case.check()

    @property
    def lost(self):
        return self.use_case.objects


@pytest.fixture
def looking():
    return Looking()


def test_what_is_indexed_is_asked_for_once_and_forgotten(looking):
    one = announcement()
    looking.records.keep(one)
    looking.check()
    assert looking.index.asked == [], "what was just announced is not in the index yet"
    looking.index.rows.add(one.event_id)
    looking.check(5)
    assert (looking.index.asked, looking.records.held, looking.lost) == ([one], {}, 0)


def test_what_this_process_has_indexed_is_forgotten_without_asking(looking):
    first, second = announcement(), announcement()
    looking.records.keep(first, second)
    looking.records.keep(second)
    looking.recently.add([first.to_bytes()])
    looking.check(2)
    assert looking.index.asked == [first, second, second], "one of them may be missing"
    looking.recently.add([second.to_bytes()])
    looking.check()
    assert (len(looking.index.asked), looking.records.held) == (3, {})


def test_what_a_database_that_was_away_may_have_lost_is_asked_for(looking):
    one = announcement()
    looking.records.keep(one)
    looking.recently.add([one.to_bytes()])
    looking.recently.forget()
    looking.check(CHECKS_UNTIL_LOST)
    assert looking.broker.announced == [[one]]


def test_only_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr("draw_indexer.services.recently_indexed.MAX_REMEMBERED", 2)
    recently = RecentlyIndexed()
    first, second, third = (announcement().to_bytes() for _ in range(3))
    recently.add([first, second])
    recently.add([third])
    assert recently.has_all([second, third])
    assert not recently.has_all([first, third])


def test_what_is_no_announcement_is_never_remembered():
    recently = RecentlyIndexed()
    recently.add([b"nonsense", b'{"event_id":"1"}'])
    assert not recently.has_all([b"nonsense"])
    assert not recently.has_all([b'{"event_id":"1"}'])


def test_what_is_missing_in_several_looks_is_announced_again_and_counted(looking):
    here, gone = announcement(), announcement()
    looking.index.rows.add(here.event_id)
    looking.records.keep(here, gone)
    looking.check(CHECKS_UNTIL_LOST - 1)
    assert (looking.broker.announced, looking.lost) == ([], 0)
    looking.check()
    assert (looking.broker.announced, looking.lost, looking.counted) == ([[gone]], 1, 1)
    looking.check(CHECKS_UNTIL_LOST)
    assert (len(looking.broker.announced), looking.lost) == (1, 1)
    looking.index.rows.add(gone.event_id)
    looking.check()
    assert (looking.records.held, looking.lost) == ({}, 0)


def test_what_does_not_come_is_announced_less_and_less_often(looking):
    looking.records.keep(announcement())
    looking.check(CHECKS_UNTIL_LOST * (1 + 2 + 4 + 8))
    assert len(looking.broker.announced) == 4
    looking.check(1000)
    assert len(looking.broker.announced) < 20
    assert looking.lost == 1


def test_a_long_queue_gets_no_doubles(looking):
    first, second = announcement(), announcement()
    looking.records.keep(first)
    looking.records.keep(second)
    looking.broker.waiting = module.SHORT_QUEUE + 1
    looking.check(100)
    assert (looking.broker.announced, looking.lost) == ([], 0)
    looking.broker.waiting = 0
    looking.check(CHECKS_UNTIL_LOST - 1)
    assert looking.broker.announced == [], "consumers have the last of it in their hands"


def test_a_long_queue_is_not_compared_with_everything_that_waits_in_it(looking, monkeypatch):
    monkeypatch.setattr(module, "OBJECTS_AT_ONCE", 1)
    made = [announcement() for _ in range(5)]
    for one in made:
        looking.records.keep(one)
    looking.check()
    looking.broker.waiting = module.SHORT_QUEUE + 1
    looking.index.rows.add(made[0].event_id)
    looking.check()
    assert looking.index.asked == made[:2]


def test_what_may_be_tried_again_later_is_waited_for(looking):
    looking.records.keep(announcement())
    looking.broker.later = 1
    looking.check(LATER - 1)
    assert looking.broker.announced == []
    looking.check()
    assert len(looking.broker.announced) == 1


def test_what_people_know_as_a_dead_letter_is_left_to_them(looking):
    dead, gone = announcement(), announcement()
    looking.broker.letters = {dead.event_id}
    looking.records.keep(dead)
    looking.records.keep(dead, gone)
    looking.check(CHECKS_UNTIL_LOST)
    assert (looking.broker.announced, looking.lost) == ([[gone]], 1)
    assert [record.tries for record in looking.records.held.values()] == [1]


def test_while_nobody_consumes_nothing_is_lost(looking):
    looking.records.keep(announcement())
    looking.check(CHECKS_UNTIL_LOST - 1)
    looking.consuming = False
    looking.check(10)
    looking.consuming = True
    looking.check(CHECKS_UNTIL_LOST - 1)
    assert (looking.broker.announced, looking.lost) == ([], 0)


def test_after_an_outage_consumers_have_their_time(looking):
    looking.records.keep(announcement())
    looking.check(CHECKS_UNTIL_LOST - 1)
    looking.index.away = True
    with pytest.raises(Transient):
        looking.check()
    looking.index.away = False
    looking.check(CHECKS_UNTIL_LOST - 1)
    assert looking.broker.announced == []
    looking.check()
    assert len(looking.broker.announced) == 1


def test_one_process_looks_at_a_time(looking):
    looking.records.keep(announcement())
    looking.index.taken = True
    looking.check(2 * CHECKS_UNTIL_LOST)
    assert (looking.broker.announced, looking.index.asked) == ([], [])


def test_a_broker_that_takes_nothing_leaves_them_lost_and_is_not_pressed(looking):
    looking.records.keep(announcement())
    looking.broker.refuses = True
    looking.check(CHECKS_UNTIL_LOST)
    [record] = looking.records.held.values()
    assert (looking.lost, looking.counted, record.tries) == (1, 0, 1)
    looking.check()
    assert looking.lost == 1
    looking.broker.refuses = False
    looking.check(2 * CHECKS_UNTIL_LOST)
    assert (len(looking.broker.announced), looking.counted) == (1, 1)


def test_one_look_reads_a_bounded_number_of_records(looking, monkeypatch):
    monkeypatch.setattr(module, "RECORDS_AT_ONCE", 3)
    for _ in range(10):
        looking.records.keep(announcement())
    looking.check(2)
    assert len(looking.index.asked) == 3
    assert len(looking.use_case._checks) == 3
