"""Progress: sums over several requests, a rate of the last seconds, an estimated end."""

from draw_qr_worker.models import SubOperationCounts
from draw_qr_worker.services.progress import Progress


class Shown(dict):
    def report(self, **values):
        self.update(values)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def made(expected=None):
    shown, clock = Shown(), Clock()
    progress = Progress(shown, clock)
    progress.expected = expected
    return progress, shown, clock


def test_rate_and_end_follow_from_what_arrives():
    progress, shown, clock = made(expected=100)
    for arrived in range(5, 55, 5):
        clock.now += 1
        progress.update_arrived(arrived, arrived * 1000)
    assert shown["bytes_per_second"] == 5000
    assert shown["objects_per_second"] == 5.0
    assert (shown["remaining"], shown["eta_seconds"]) == (50, 10.0)


def test_what_was_here_before_does_not_make_it_look_fast():
    progress, shown, clock = made(expected=100)
    progress.already = 90
    clock.now += 1
    progress.update_arrived(90, 0)
    assert shown["objects_per_second"] == 0
    assert (shown["remaining"], shown["eta_seconds"]) == (10, None)


def test_counts_of_several_requests_add_up():
    progress, shown, clock = made()
    progress.next_request()
    progress.update_counts(SubOperationCounts(0, 4, 1, 0))
    progress.next_request()
    progress.update_counts(SubOperationCounts(7, 1, 0, 2))
    clock.now += 1
    progress.show()
    assert (shown["completed"], shown["failed"], shown["warning"]) == (5, 1, 2)
    assert shown["remaining"] == 7


def test_a_response_without_counts_changes_nothing():
    progress, shown, clock = made()
    progress.update_counts(SubOperationCounts(3, 4, 0, 0))
    clock.now += 1
    progress.update_counts(SubOperationCounts())
    assert (shown["completed"], shown["remaining"]) == (4, 3)


def test_it_is_shown_a_few_times_a_second_at_most_but_a_phase_at_once():
    progress, shown, _ = made(expected=9)
    progress.show("asking")
    progress.update_arrived(5, 5)
    assert shown["arrived"] == 0
    progress.show("retrieving")
    assert (shown["arrived"], shown["phase"]) == (5, "retrieving")


def test_what_the_peer_last_said_of_a_request_is_kept_for_its_end():
    progress, _, _ = made()
    assert progress.counts == SubOperationCounts()
    progress.update_counts(SubOperationCounts(3, 2, 0, 0))
    progress.update_counts(SubOperationCounts(None, None, None, None))
    assert progress.counts == SubOperationCounts(3, 2, 0, 0)
    progress.next_request()
    assert progress.counts == SubOperationCounts()
