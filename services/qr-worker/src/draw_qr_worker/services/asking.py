"""One question to a node, answered whole or known to be cut.

A question is one C-FIND, asked again in narrower parts where the node stopped too early. A node
that stops at its limit may say so, or may not: an answer of suspiciously round length is
checked by asking for its parts, and so is every answer on which a retrieve will rely. Where the
level above says how many there are, that number decides.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from draw_qr_worker.models import Match, RemoteNode
from draw_qr_worker.ports.querying import Finder, NodeMemory
from draw_qr_worker.services.query_splitting import Part, around, split, whole

MAX_REQUESTS: Final = 2000
"""C-FIND requests for one question; a node that needs more is not going to be read out."""
MAX_SECONDS: Final = 900.0
"""The longest that one question may take, whatever the node makes of it."""
MAX_MATCHES: Final = 200_000
"""Matches of one C-FIND; a node that sends more is stopped."""
SMALLEST_LIMIT: Final = 50
SMALLEST_RELIED_ON: Final = 10
"""Limits of real nodes are round numbers: multiples of this, and of fewer where it matters more."""
FIND_LIMIT: Final = "find_limit"
"""What a node's capabilities call the number of matches after which it stops."""
UNIQUE_KEYS: Final[Mapping[str, str]] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_TOLD: Final = ("StudyDate", "StudyTime")
"""What of a match decides where a question is cut."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how the answer is judged."""

    level: str
    keys: Mapping[str, Any]
    model: str = ""
    """Empty: the node's own."""
    number: Callable[[], int | None] = lambda: None
    """How many there are, as the level above or the matches themselves say."""
    most: int = 0
    """Matches after which no more are wanted; 0: all."""
    relied_on: bool = False
    """Whether every answer is checked, and not only one of round length."""
    splits: bool = True
    """Whether it may be asked in parts."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """How a question was answered; the matches were handed over as they came."""

    matches: int
    requests: int
    cut: str = ""
    """Why there may be more; empty: nothing says so."""
    unchecked: str = ""
    """Why the length is suspicious, where nothing could check it."""
    limit: int = 0
    """The node's limit as far as it has shown; 0: none."""

    @property
    def whole(self) -> bool:
        """Whether everything was told, as far as a node can be made to say."""
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
        """The query models in which the node answers."""
        return self._finder.models

    def ask(
        self,
        question: Question,
        take: Callable[[Match], None],
        asked: Callable[[int], None] = lambda _: None,
    ) -> QueryAnswer:
        """Hand every match to `take` as it comes, and say whether these are all."""
        before = self.requests

        def counted(requests: int) -> None:
            self.requests = before + requests
            asked(self.requests)

        answer = ask(self._finder, question, take, limit=self._limit, asked=counted)
        self._limit = answer.limit
        return answer

    def tell(self, memory: NodeMemory) -> None:
        """Have it kept when the node's limit has shown, or has shown to be none."""
        if self._limit != self._known:
            memory.learned(self._node.id, {FIND_LIMIT: self._limit or None})


def ask(
    finder: Finder,
    question: Question,
    take: Callable[[Match], None],
    *,
    limit: int = 0,
    asked: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> QueryAnswer:
    """Hand every match to `take` as it comes, and say whether these are all.

    A match that comes again is handed over again. `limit` is what is known of the node;
    `asked` is told the number of requests after each.
    """
    asking = _Asking(finder, question, take, limit, clock)
    left = [(whole(question.level, question.keys), 0)]
    while left and not asking.full:
        if asking.requests >= MAX_REQUESTS or clock() > asking.deadline:
            asking.cut = "the node answers so little at a time that the query was given up"
            break
        left += asking.request(*left.pop())
        asked(asking.requests)
    return asking.answer()


def unique_key(level: str, match: Match) -> str:
    """Return what tells one match from another."""
    keys = [str(match.get(UNIQUE_KEYS[level]) or "")]
    if level == "PATIENT":
        keys.append(str(match.get("IssuerOfPatientID") or ""))
    if keys[0]:
        return "\\".join(keys)
    return repr(sorted(match.items()))


@dataclass(slots=True)
class _Asking:
    """What is known so far."""

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
    """Whether an answer was checked by parts that do not hold all of it."""
    cuts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + MAX_SECONDS

    @property
    def full(self) -> bool:
        return bool(self.question.most) and len(self.seen) >= self.question.most

    @property
    def number(self) -> int | None:
        """How many the level above speaks of; more than that, and it is not to be believed."""
        number = self.question.number()
        return None if number is None or len(self.seen) > number else number

    def request(self, part: Part, suspected: int) -> list[tuple[Part, int]]:
        """Ask for one part, and return the parts that it has to be cut into."""
        told: list[Match] = []
        before = len(self.seen)

        def taken(match: Match) -> None:
            told.append({name: match[name] for name in _TOLD if name in match})
            key = unique_key(part.level, match)
            if key in self.seen or not self.full:
                self.seen.add(key)
                self.take(match)

        end = self.finder.find(
            part.level,
            part.narrowed(),
            taken,
            model=self.question.model,
            enough=lambda: self._enough(len(told)),
        )
        self.requests += 1
        self._learn(len(told), suspected, cut=end.cut_short, more=len(self.seen) > before)
        if self.full:
            self.cut = self.cut or "stopped at the number of results that was asked for"
            return []
        if len(told) >= MAX_MATCHES:
            self.cut = f"the node sent {MAX_MATCHES} matches at once and was stopped"
            return []
        if self.number == len(self.seen) and not (end.cut_short or self.question.relied_on):
            return []
        if end.cut_short or len(told) == self.limit > 0 or self._short(suspected):
            return self._parts(part, told)
        return self._checks(part, told, suspected)

    def answer(self) -> QueryAnswer:
        number, found = self.number, len(self.seen)
        cut, unchecked = self.cut, self.unchecked
        if number is not None and found < number:
            cut = f"the node names {found} of {number} at the level {self.question.level}"
        elif number is not None and found > max(self.cuts, default=0):
            cut = unchecked = ""
        return QueryAnswer(found, self.requests, cut, unchecked, self.limit)

    def _enough(self, told: int) -> bool:
        return self.full or told >= MAX_MATCHES or self.clock() > self.deadline

    def _short(self, suspected: int) -> bool:
        """Return whether the first answer is known to lack something."""
        return not suspected and self.requests == 1 and self.number is not None

    def _learn(self, length: int, suspected: int, *, cut: bool, more: bool) -> None:
        """Take note of the node's limit: a single cut may be a shortage of the moment."""
        if length > self.limit > 0:
            self.limit = 0
        if cut:
            self.cuts[length] += 1
            if self.cuts[length] > 1 and length == max(self.cuts):
                self.limit = length
        if not (suspected and more):
            return
        # A part brought something new: the answer was cut without a word.
        if _round(suspected) or length == suspected:
            self.limit = suspected
        if self.dateless:
            self.cut = self.cut or "the node stops at its limit, and some matches have no date"

    def _parts(self, part: Part, told: list[Match]) -> list[tuple[Part, int]]:
        parts, certain = split(part, told) if self.question.splits else ([], False)
        if not (parts and certain):
            self.cut = (
                self.cut or "the node stops at its limit, and the query cannot be cut further"
            )
        return [(each, 0) for each in reversed(parts)]

    def _checks(self, part: Part, told: list[Match], suspected: int) -> list[tuple[Part, int]]:
        """Return parts that bring something new if the answer was cut without a word."""
        length, relied_on = len(told), self.question.relied_on
        likely = _round(length, SMALLEST_RELIED_ON if relied_on else SMALLEST_LIMIT)
        if not (length == suspected if suspected else likely or (relied_on and length)):
            return []
        if length == 1:
            return [] if suspected else [(each, length) for each in around(part, told[0])]
        parts, certain = split(part, told) if self.question.splits else ([], False)
        if not likely and any(each.modality for each in parts):
            # Dozens of requests for a length that no limit of a node has.
            return []
        if likely and not (parts and certain):
            self.unchecked = f"the answer stops at {length}, and nothing proves that these are all"
        self.dateless = self.dateless or not certain
        return [(each, length) for each in reversed(parts)]


def _round(length: int, step: int = SMALLEST_LIMIT) -> bool:
    return length >= step and length % step == 0
