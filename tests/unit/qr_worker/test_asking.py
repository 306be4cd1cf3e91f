"""One question to a node: whole, in parts, bounded, and what is learned of the node's limit."""

import pytest

from draw_qr_worker.models import FindEnd, RemoteNode
from draw_qr_worker.services import asking
from draw_qr_worker.services.asking import FIND_LIMIT, QUESTION_TIMEOUT_SECONDS, Asker, Question
from draw_qr_worker.services.asking import ask as ask_plainly

RANGES = ("StudyDate", "StudyTime")


class Studies:
    """Answers studies from a list, cut as it is told."""

    models = frozenset({"study"})

    def __init__(self, count, *, limit=0, says_so=True, day="", ignores_dates=False):
        self.rows = [
            {
                "StudyInstanceUID": f"1.{n}",
                "StudyDate": day or f"2026{n // 28 % 12 + 1:02d}{n % 28 + 1:02d}",
                "StudyTime": f"{n // 3600 % 24:02d}{n // 60 % 60:02d}{n % 60:02d}",
            }
            for n in range(count)
        ]
        self.limit, self.says_so, self.ignores_dates = limit, says_so, ignores_dates
        self.once = 0
        self.asked = 0

    def find(self, _level, keys, take, *, model="", enough=lambda: False):  # noqa: ARG002
        self.asked += 1
        rows = [
            row
            for row in self.rows
            if self.ignores_dates
            or all(
                _within(str(keys.get(name, "")), row[name])
                for name in row
                if name[5:] in "DateTime"
            )
        ]
        limit = self.once or self.limit
        self.once = 0
        for sent, row in enumerate(rows[: limit or None], 1):
            take(row)
            if enough():
                return FindEnd(sent, True, "Cancelled")
        cut = bool(limit) and len(rows) > limit
        return FindEnd(len(rows[: limit or None]), cut and self.says_so, "")


def _within(key, value):
    first, dash, last = key.partition("-")
    if not key:
        return True
    if not dash:
        return value == first
    return (not first or first <= value) and (not last or value <= last)


def ask(node, *, known=0, clock=None, **question):
    taken = []
    settings = {"clock": clock} if clock else {}
    keys = question.pop("keys", {"StudyDate": "", "StudyTime": ""})
    answer = ask_plainly(
        node, Question("STUDY", keys, **question), taken.append, limit=known, **settings
    )
    return answer, taken


@pytest.mark.parametrize("says_so", [True, False])
def test_an_answer_cut_at_the_limit_is_completed_in_parts_and_the_limit_learned(says_so):
    answer, taken = ask(Studies(230, limit=50, says_so=says_so))
    assert (answer.matches, answer.whole, answer.limit) == (230, True, 50)
    assert len({row["StudyInstanceUID"] for row in taken}) == 230


def test_a_cut_of_the_moment_is_no_limit():
    node = Studies(120)
    node.once = 37
    answer, _ = ask(node)
    assert (answer.matches, answer.whole, answer.limit) == (120, True, 0)


def test_a_larger_answer_unlearns_the_limit():
    answer, _ = ask(Studies(120), known=50)
    assert (answer.matches, answer.whole, answer.limit) == (120, True, 0)


def test_what_is_found_out_about_the_limit_is_kept_and_forgotten_again():
    kept = {}

    class Memory:
        def remember(self, node_id, found):
            kept[node_id] = found

    def tell(node, **capabilities):
        asker = Asker(node, RemoteNode(7, "n", "AE", "h", 104, capabilities=capabilities))
        asker.ask(Question("STUDY", {"StudyDate": "", "StudyTime": ""}), lambda _: None)
        asker.record_limit(Memory())
        return kept.pop(7, None)

    assert tell(Studies(230, limit=50)) == {FIND_LIMIT: 50}
    assert tell(Studies(230, limit=50), find_limit=50) is None
    assert tell(Studies(120), find_limit=50) == {FIND_LIMIT: None}
    assert tell(Studies(20)) is None


def test_an_answer_that_is_relied_on_is_checked_whatever_its_length():
    answer, _ = ask(Studies(15, limit=7, says_so=False), relied_on=True)
    assert (answer.matches, answer.whole) == (15, True)
    # One study at a time, whatever is asked: found, and never called everything.
    answer, _ = ask(Studies(2, limit=1, says_so=False), relied_on=True)
    assert (answer.matches, answer.whole) == (2, False)


def test_a_silent_cut_with_matches_that_no_part_holds_is_never_whole():
    node = Studies(15, limit=7, says_so=False)
    node.rows[2]["StudyDate"] = ""
    answer, _ = ask(node, relied_on=True)
    assert "have no date" in answer.cut


def test_ten_of_one_moment_are_not_relied_on_and_three_are():
    for count, whole in ((10, False), (3, True)):
        node = Studies(count, day="20260102")
        for row in node.rows:
            row["StudyTime"] = "120000"
        answer, _ = ask(node, relied_on=True)
        assert (answer.matches, answer.whole) == (count, whole)


def test_the_number_of_the_level_above_decides():
    short, _ = ask(Studies(30, limit=20, says_so=False), number=lambda: 30, splits=False)
    assert short.cut == "the node names 20 of 30 at the level STUDY"
    reached, _ = ask(Studies(30, limit=20, says_so=False), number=lambda: 30)
    assert (reached.matches, reached.whole) == (30, True)
    contradicted, _ = ask(Studies(30, limit=20), number=lambda: 20, splits=False)
    assert not contradicted.whole
    too_small, _ = ask(Studies(150, limit=100, says_so=False), number=lambda: 7)
    assert (too_small.matches, too_small.whole) == (150, True)


def test_only_as_many_as_are_wanted_are_read():
    answer, taken = ask(Studies(100_000), most=15)
    assert (len(taken), answer.requests, answer.whole) == (15, 1, False)


def test_fifty_thousand_of_one_day_end_with_a_clear_state(monkeypatch):
    whole, taken = ask(Studies(50_000, day="20260102"))
    assert (whole.matches, whole.whole, len(taken) <= 200_000) == (50_000, True, True)
    blind, _ = ask(Studies(50_000, day="20260102", limit=500, ignores_dates=True), keys={})
    assert (blind.matches, blind.whole) == (500, False)
    # Fewer requests are allowed here, so that the test is quick.
    monkeypatch.setattr(asking, "MAX_REQUESTS", 100)
    node = Studies(50_000, day="20260102", limit=20)
    cut, _ = ask(node)
    assert node.asked == 100
    assert "given up" in cut.cut


def test_a_node_that_sends_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(asking, "MAX_MATCHES", 1000)
    answer, taken = ask(Studies(100_000))
    assert (len(taken), answer.requests) == (1000, 1)
    assert "was stopped" in answer.cut


def test_a_node_that_never_ends_is_given_up():
    node = Studies(1000, limit=20)
    now = iter(range(0, 10_000_000, int(QUESTION_TIMEOUT_SECONDS / 20)))
    answer, _ = ask(node, clock=lambda: next(now))
    assert node.asked < 40
    assert "given up" in answer.cut
