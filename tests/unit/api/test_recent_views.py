"""When a view is another line of the transaction log."""

from draw_shared.access import recent_views
from draw_shared.access.principals import Principal, Role
from draw_shared.access.recent_views import REPEAT_WINDOW_SECONDS, CollectedViews, RecentViews

CURIE = Principal(1, "curie", Role.VIEWER, "192.0.2.1")
PROGRAM = Principal(1, "curie", Role.VIEWER, "192.0.2.1", token_name="report")
ELSEWHERE = Principal(1, "curie", Role.VIEWER, "192.0.2.2")


def seen(recent, by, uid="1.2", what="elements"):
    views = CollectedViews(recent)
    first = views.first(by, what, uid)
    views.remember()
    return first


def test_a_view_is_on_record_once_in_a_while_for_each_who_where_and_what():
    now = [0.0]
    recent = RecentViews(lambda: now[0])
    assert [seen(recent, CURIE) for _ in range(3)] == [True, False, False]
    assert seen(recent, PROGRAM)
    assert seen(recent, ELSEWHERE)
    assert seen(recent, CURIE, "1.3")
    assert seen(recent, CURIE, what="images")
    now[0] = REPEAT_WINDOW_SECONDS
    assert [seen(recent, CURIE) for _ in range(2)] == [True, False]


def test_what_was_rolled_back_is_not_on_record():
    recent = RecentViews()
    views = CollectedViews(recent)
    assert [views.first(CURIE, "elements", "1.2") for _ in range(2)] == [True, False]
    assert seen(recent, CURIE)


def test_who_looks_at_very_much_is_written_down_more_often(monkeypatch):
    monkeypatch.setattr(recent_views, "MAX_REMEMBERED", 3)
    recent = RecentViews()
    assert all(seen(recent, CURIE, str(number)) for number in range(5))
    assert not seen(recent, CURIE, "4")
    assert seen(recent, CURIE, "0")
