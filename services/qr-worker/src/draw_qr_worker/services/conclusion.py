"""Decides whether a retrieve is complete, unproved, partial or failed, and explains why.

Complete means proved: the node said what it has, no level of its answers reports more, and all of
it arrived. Objects that were here before the job prove nothing about what the node sent, unless the
node names exactly those SOP instances.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from draw_qr_worker.models import Item, JobState, RemoteRetrieveEnd, Unlisted
from draw_qr_worker.services.expectation import Expectation, StudyExpectation
from draw_qr_worker.services.retrieve_plan import PlannedRequest
from draw_shared.wording import message

NO_ROWS: Sequence[Item] = ()
NONE_UNLISTED = Unlisted(0, 0, 0)


@dataclass(frozen=True, slots=True)
class StudyStanding:
    """How far one study is."""

    expected: StudyExpectation
    items: Sequence[Item]
    unlisted: Unlisted

    @property
    def surplus(self) -> int | None:
        """How many more instances are expected than the items name; None if unknown."""
        count = self.expected.count
        return None if count is None else max(0, count - len(self.items))

    @property
    def missing(self) -> list[str]:
        """The named SOP instances that have not arrived."""
        return [item.sop_instance_uid for item in self.items if not item.arrived]

    @property
    def unnamed(self) -> int:
        """The number of expected instances that nobody named and that have not arrived."""
        return max(0, (self.surplus or 0) - self.unlisted.since)

    @property
    def arrived(self) -> int:
        """The number of instances that have arrived, even beyond those expected."""
        return len(self.items) - len(self.missing) + self.unlisted.since

    @property
    def here(self) -> int:
        """The number of expected instances that may be here, whenever they arrived."""
        here, surplus = self.unlisted.here, self.surplus
        return (
            len(self.items) - len(self.missing) + (here if surplus is None else min(here, surplus))
        )

    @property
    def short(self) -> int:
        """The number of instances that have not arrived."""
        return len(self.missing) + self.unnamed

    @property
    def from_before(self) -> bool:
        """Whether the missing instances may be among those that were here before the job."""
        return not self.missing and self.unnamed > 0 and self.unlisted.here >= (self.surplus or 0)


@dataclass(frozen=True, slots=True)
class RetrieveStanding:
    """How far a job is."""

    expectation: Expectation
    studies: tuple[StudyStanding, ...]

    @property
    def expected(self) -> int | None:
        """The number of expected instances: what the node reports plus what was named before."""
        counts = [each.surplus for each in self.studies]
        if None in counts:
            return None
        return sum((n or 0) + len(each.items) for n, each in zip(counts, self.studies, strict=True))

    @property
    def missing(self) -> list[str]:
        """The named SOP instances that have not arrived."""
        return [uid for each in self.studies for uid in each.missing]

    @property
    def short(self) -> int:
        """The number of instances that have not arrived, as far as it is known."""
        return sum(each.short for each in self.studies)

    @property
    def arrived(self) -> int:
        """The number of instances that have arrived."""
        return sum(each.arrived for each in self.studies)

    @property
    def here(self) -> int:
        """The number of expected instances that may be here, whenever they arrived."""
        return sum(each.here for each in self.studies)

    @property
    def over(self) -> bool:
        """Whether every instance that is known of has arrived."""
        return self.expected is not None and not self.short

    @property
    def nothing_left(self) -> bool:
        """Whether the node need not be asked for anything."""
        return self.over and all(each.expected.listed for each in self.studies)


def compute_standing(
    expectation: Expectation, items: Sequence[Item], unlisted: Mapping[str, Unlisted]
) -> RetrieveStanding:
    """Return how far a job is, study by study; items of further studies count as expected."""
    rows: dict[str, list[Item]] = {}
    for item in items:
        rows.setdefault(item.study_instance_uid, []).append(item)
    known = {each.study_instance_uid: each for each in expectation.studies}
    for uid in rows.keys() - known.keys():
        known[uid] = StudyExpectation(uid, count=0, listed=True)
    return RetrieveStanding(
        expectation,
        tuple(
            StudyStanding(each, rows.get(uid, NO_ROWS), unlisted.get(uid, NONE_UNLISTED))
            for uid, each in known.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """One request and how the node ended it."""

    request: PlannedRequest
    end: RemoteRetrieveEnd

    @property
    def study(self) -> str:
        """The study of the request."""
        return str(self.request.keys.get("StudyInstanceUID"))

    @property
    def reported(self) -> int | None:
        """The number of sub-operations that the node reports; None if it reports none."""
        counts = self.end.counts
        if counts.completed is None:
            return None
        further = (counts.failed, counts.warning, counts.remaining)
        return counts.completed + sum(n or 0 for n in further)

    @property
    def short(self) -> int:
        """How many fewer objects the node says it sent than were expected."""
        sent = (self.end.counts.completed or 0) + (self.end.counts.warning or 0)
        return max(0, (self.request.expected or 0) - sent)


def doubt_of(standing: RetrieveStanding, requested: Iterable[EndedRequest]) -> str:
    """Return why nothing proves that everything arrived; empty if it is proved."""
    ends = list(requested)
    # These are only counted, and another sender may have sent them.
    unnamed = {one.expected.study_instance_uid for one in standing.studies if one.surplus}
    for each in ends:
        expected = each.request.expected
        if expected is None or each.reported is None:
            continue
        if each.reported > expected or (each.short and each.study in unnamed):
            sent = each.reported if each.reported > expected else expected - each.short
            return message(
                "the node sent %(sent)s objects where its answers speak of %(expected)s",
                sent=sent,
                expected=expected,
            )
    if standing.expected is None:
        return message("the node does not say what it has")
    agreed = {
        each.study
        for each in ends
        if each.request.expected is not None and each.reported == each.request.expected
    }
    doubts = [standing.expectation.doubt]
    for study in standing.studies:
        doubts.append(study.expected.doubt)
        if study.expected.study_instance_uid not in agreed:
            doubts.append(study.expected.unchecked)
    return next(filter(None, doubts), "")


def conclude(
    now: RetrieveStanding, requested: Sequence[EndedRequest], *, failed: int
) -> tuple[JobState, str]:
    """Return how a retrieve to this archive ends, and the reason unless it is complete."""
    said = (
        message("the node said: %(end)s", end=requested[-1].end.words)
        if requested
        else message("the node was not asked")
    )
    lacking = _conclude_missing(now, failed)
    if lacking is not None:
        state, words = lacking
        return state, f"{words}; {said}"
    doubt = doubt_of(now, requested)
    if doubt:
        return JobState.UNPROVED, message(
            "nothing proves that %(arrived)s objects are all: %(doubt)s",
            arrived=now.arrived,
            doubt=doubt,
        )
    return JobState.COMPLETE, ""


def _conclude_missing(now: RetrieveStanding, failed: int) -> tuple[JobState, str] | None:
    """Return what is known to be missing; None if nothing is."""
    if now.expected is None:
        if failed:
            return JobState.PARTIAL, message(
                "%(failed)s of the objects did not arrive", failed=failed
            )
        return None if now.here else (JobState.FAILED, message("nothing arrived"))
    if now.short and all(study.from_before or not study.short for study in now.studies):
        return JobState.UNPROVED, (
            message(
                "%(short)s of %(expected)s were here before, and nothing proves that "
                "they are what the node has",
                short=now.short,
                expected=now.expected,
            )
        )
    if now.short:
        state = JobState.PARTIAL if now.here else JobState.FAILED
        return state, message(
            "%(short)s of %(expected)s did not arrive", short=now.short, expected=now.expected
        )
    lacking = now.expectation.lacking
    return (JobState.PARTIAL, lacking) if lacking else None
