"""When the clean-up begins, waits and stops; what it deletes is in tests/integration/indexer."""

from draw_indexer.services.clean_up import CleanUpService, RetentionRule


class FakeStudies:
    """Studies that all go, or an index that is behind."""

    def __init__(self, *expired, behind=False):
        self.left = list(expired)
        self.behind = behind
        self.files = 0

    def expired(self, _days):
        return None if self.behind else list(self.left)

    def delete_expired(self, uid, _days):
        self.left.remove(uid)
        self.files += 1
        return 1

    def remove_files(self, _most):
        gone, self.files = self.files, 0
        return gone


class NoCopies:
    """A storage in which every object has one file."""

    def remove(self, _most):
        return 0


def clean_up(studies, rules, *, backlog=0, stopping=lambda: False):
    deleted = []
    use_case = CleanUpService(studies, NoCopies(), rules, lambda: backlog, deleted.append, stopping)
    use_case.delete_expired()
    return len(deleted)


def on():
    return RetentionRule(clean_up=True, retention_days=30)


def test_everything_beyond_retention_goes_with_its_files():
    studies = FakeStudies("1", "2")
    assert clean_up(studies, on) == 2
    assert studies.files == 0


def test_it_waits_while_the_index_is_behind():
    assert clean_up(FakeStudies("1", behind=True), on) == 0
    assert clean_up(FakeStudies("1"), on, backlog=1) == 0


def test_switching_it_off_stops_it_between_two_studies():
    rules = iter([on(), on(), RetentionRule(clean_up=False, retention_days=30)])
    assert clean_up(FakeStudies("1", "2", "3"), lambda: next(rules)) == 1


def test_stopping_the_service_stops_it_between_two_studies():
    answers = iter([False, False, False, True])
    studies = FakeStudies("1", "2", "3")
    assert clean_up(studies, on, stopping=lambda: next(answers, True)) < 3
    assert studies.left
