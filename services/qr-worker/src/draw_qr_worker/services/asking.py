"""Asks a node one question and tells whether the answer is complete.

A question is one C-FIND, repeated in narrower parts where the node stopped too early. A node that
stops at its limit may not say so. Therefore an answer of suspiciously round length is checked by
asking for its parts, and so is every answer on which a retrieve relies. Where the level above
reports a number, that number decides.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from draw_qr_worker.models import Match, RemoteNode
from draw_qr_worker.ports.querying import Finder, NodeMemory
from draw_qr_worker.services.query_splitting import Part, split_around, split_part, whole_part
from draw_shared.wording import message

MAX_REQUESTS: Final = 2000
"""C-FIND requests for one question; a node that needs more cannot be read completely."""
QUESTION_TIMEOUT_SECONDS: Final = 900.0
"""The maximum duration of one question."""
MAX_MATCHES: Final = 200_000
"""Matches of one C-FIND; a node that sends more is stopped."""
MIN_LIMIT_STEP: Final = 50
MIN_RELIED_ON_STEP: Final = 10
"""Limits of real nodes are multiples of this; of the smaller step where we rely on the answer."""
FIND_LIMIT: Final = "find_limit"
"""The key in a node's capabilities for the number of matches after which it stops."""
UNIQUE_KEYS: Final[Mapping[str, str]] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_SPLIT_ATTRIBUTES: Final = ("StudyDate", "StudyTime")
"""The attributes of a match that decide where a question is split."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, and how to judge the answer."""

    level: str
    keys: Mapping[str, Any]
    model: str = ""
    """Empty means the node's own model."""
    number: Callable[[], int | None] = lambda: None
    """The number of matches that the level above, or the matches themselves, report."""
    most: int = 0
    """No more matches than this are wanted; 0 means all."""
    relied_on: bool = False
    """Whether every answer is checked, and not only one of round length."""
    splits: bool = True
    """Whether the question may be split."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """How a question was answered; the matches were already passed on."""

    matches: int
    requests: int
    cut: str = ""
    """Why more matches may exist; empty if nothing suggests it."""
    unchecked: str = ""
    """Why the length is suspicious, if nothing could check it."""
    limit: int = 0
    """The node's limit as far as it is known; 0 means none."""

    @property
    def whole(self) -> bool:
        """Whether the node gave every match, as far as can be checked."""
        return not self.cut and not self.unchecked


class Asker:
    """Asks one node over one association, and remembers the limit at which it stops."""

    def __init__(self, finder: Finder, node: RemoteNode) -> None:
        self._finder = finder
        self._node = node
        self._known = self._limit = int(node.capabilities.get(FIND_LIMIT) or 0)
        self.requests = 0

    @property
    def models(self) -> frozenset[str]:
        """The query models that the node accepts."""
        return self._finder.models

    def ask(
        self,
        question: Question,
        take: Callable[[Match], None],
        asked: Callable[[int], None] = lambda _: None,
    ) -> QueryAnswer:
        """Pass every match to `take` as it arrives, and return whether they are all."""
        before = self.requests

        def count(requests: int) -> None:
            self.requests = before + requests
            asked(self.requests)

        answer = ask(self._finder, question, take, limit=self._limit, asked=count)
        self._limit = answer.limit
        return answer

    def record_limit(self, memory: NodeMemory) -> None:
        """Store the node's limit if this association found it, or found that there is none."""
        if self._limit != self._known:
            memory.remember(self._node.id, {FIND_LIMIT: self._limit or None})


def ask(
    finder: Finder,
    question: Question,
    take: Callable[[Match], None],
    *,
    limit: int = 0,
    asked: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> QueryAnswer:
    """Pass every match to `take` as it arrives, and return whether they are all.

    A repeated match is passed on again. `limit` is the node's known limit; `asked` receives the
    number of requests after each one.
    """
    asking = _QuestionState(finder, question, take, limit, clock)
    left = [(whole_part(question.level, question.keys), 0)]
    while left and not asking.full:
        if asking.requests >= MAX_REQUESTS or clock() > asking.deadline:
            asking.cut = message("the node answers so little at a time that the query was given up")
            break
        left += asking.request(*left.pop())
        asked(asking.requests)
    return asking.answer()


def unique_key(level: str, match: Match) -> str:
    """Return the value that distinguishes one match from another."""
    keys = [str(match.get(UNIQUE_KEYS[level]) or "")]
    if level == "PATIENT":
        keys.append(str(match.get("IssuerOfPatientID") or ""))
    if keys[0]:
        return "\\".join(keys)
    return repr(sorted(match.items()))


@dataclass(slots=True)
class _QuestionState:
    """The state of one question."""

    finder: Finder
    question: Question
    take: Callable[[Match], None]
    limit: int
    clock: Callable[[], float]
    deadline: float = 0.0
    seen: set[str] = field(default_factory=set)
    requests: int = 0
    cut: str = ""
    unchecked: str = ""
    dateless: bool = False
    """Whether an answer was checked by parts that do not cover all of it."""
    cuts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + QUESTION_TIMEOUT_SECONDS

    @property
    def full(self) -> bool:
        return bool(self.question.most) and len(self.seen) >= self.question.most

    @property
    def number(self) -> int | None:
        """The number that the level above reports; it is ignored if more matches arrived."""
        number = self.question.number()
        return None if number is None or len(self.seen) > number else number

    def request(self, part: Part, suspected: int) -> list[tuple[Part, int]]:
        """Ask for one part, and return the parts into which it must be split."""
        told: list[Match] = []
        before = len(self.seen)

        def collect(match: Match) -> None:
            told.append({name: match[name] for name in _SPLIT_ATTRIBUTES if name in match})
            key = unique_key(part.level, match)
            if key in self.seen or not self.full:
                self.seen.add(key)
                self.take(match)

        end = self.finder.find(
            part.level,
            part.narrowed(),
            collect,
            model=self.question.model,
            enough=lambda: self._has_enough(len(told)),
        )
        self.requests += 1
        self._learn(len(told), suspected, cut=end.cut_short, more=len(self.seen) > before)
        if self.full:
            self.cut = self.cut or message("stopped at the number of results that was asked for")
            return []
        if len(told) >= MAX_MATCHES:
            self.cut = message(
                "the node sent %(most)s matches at once and was stopped",
                most=MAX_MATCHES,
            )
            return []
        if self.number == len(self.seen) and not (end.cut_short or self.question.relied_on):
            return []
        if end.cut_short or len(told) == self.limit > 0 or self._is_incomplete(suspected):
            return self._split(part, told)
        return self._split_to_check(part, told, suspected)

    def answer(self) -> QueryAnswer:
        number, found = self.number, len(self.seen)
        cut, unchecked = self.cut, self.unchecked
        if number is not None and found < number:
            cut = message(
                "the node names %(found)s of %(number)s at the level %(level)s",
                found=found,
                number=number,
                level=self.question.level,
            )
        elif number is not None and found > max(self.cuts, default=0):
            cut = unchecked = ""
        return QueryAnswer(found, self.requests, cut, unchecked, self.limit)

    def _has_enough(self, told: int) -> bool:
        return self.full or told >= MAX_MATCHES or self.clock() > self.deadline

    def _is_incomplete(self, suspected: int) -> bool:
        """Return whether the first answer is known to be incomplete."""
        return not suspected and self.requests == 1 and self.number is not None

    def _learn(self, length: int, suspected: int, *, cut: bool, more: bool) -> None:
        """Record the node's limit; a single cut may be a shortage of the moment."""
        if length > self.limit > 0:
            self.limit = 0
        if cut:
            self.cuts[length] += 1
            if self.cuts[length] > 1 and length == max(self.cuts):
                self.limit = length
        if not (suspected and more):
            return
        # A part returned something new, so the node had cut the answer silently.
        if _is_round(suspected) or length == suspected:
            self.limit = suspected
        if self.dateless:
            self.cut = self.cut or message(
                "the node stops at its limit, and some matches have no date"
            )

    def _split(self, part: Part, told: list[Match]) -> list[tuple[Part, int]]:
        parts, certain = split_part(part, told) if self.question.splits else ([], False)
        if not (parts and certain):
            self.cut = self.cut or message(
                "the node stops at its limit, and the query cannot be cut further"
            )
        return [(each, 0) for each in reversed(parts)]

    def _split_to_check(
        self, part: Part, told: list[Match], suspected: int
    ) -> list[tuple[Part, int]]:
        """Return parts that return something new if the node cut the answer silently."""
        length, relied_on = len(told), self.question.relied_on
        likely = _is_round(length, MIN_RELIED_ON_STEP if relied_on else MIN_LIMIT_STEP)
        if not (length == suspected if suspected else likely or (relied_on and length)):
            return []
        if length == 1:
            return [] if suspected else [(each, length) for each in split_around(part, told[0])]
        parts, certain = split_part(part, told) if self.question.splits else ([], False)
        if not likely and any(each.modality for each in parts):
            # It would take dozens of requests, and no node has such a limit.
            return []
        if likely and not (parts and certain):
            self.unchecked = message(
                "the answer stops at %(length)s, and nothing proves that these are all",
                length=length,
            )
        self.dateless = self.dateless or not certain
        return [(each, length) for each in reversed(parts)]


def _is_round(length: int, step: int = MIN_LIMIT_STEP) -> bool:
    return length >= step and length % step == 0
