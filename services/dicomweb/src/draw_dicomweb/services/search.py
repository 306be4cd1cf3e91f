"""QIDO-RS: searches for studies, series and instances (PS3.18 10.6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from draw_dicomweb.models import UidPath
from draw_dicomweb.ports.search import SearchIndex
from draw_dicomweb.services.matches import DataSet, MatchDocuments
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.keys import Level
from draw_shared.dicom.query.matching import InvalidKey
from draw_shared.dicom.query.remaining import remaining_conditions
from draw_shared.dicom.query.web_search import WebSearch, parse_search
from draw_shared.wording import message

MAX_OFFSET: Final = 10_000_000
MAX_KEYS: Final = 200
LIMIT: Final = "limit"
OFFSET: Final = "offset"
FUZZY: Final = "fuzzymatching"
INCLUDE: Final = "includefield"
ACCEPT: Final = "accept"
TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The matches of one search."""

    matches: Sequence[DataSet]
    ignored: Sequence[str]
    """Parameters that do not restrict the answer."""
    more: bool
    """Whether there are further matches behind these."""


class SearchService:
    """Answers searches from the index.

    Args:
        most: largest number of matches in one answer.
    """

    def __init__(self, index: SearchIndex, most: int) -> None:
        self._index = index
        self._most = most

    def search(
        self,
        level: Level,
        within: UidPath,
        parameters: Sequence[tuple[str, str]],
        by: Claimant,
        url: Callable[[Sequence[str]], str],
    ) -> SearchAnswer:
        """Return the matches; `url` makes the Retrieve URL from UIDs, from the study down.

        Raises:
            Invalid: a parameter cannot be used.
            Transient: the index does not answer.
        """
        asked = _Parameters(parameters)
        search = _parse(level, within, asked)
        limit = self._most if asked.limit is None else min(asked.limit, self._most)
        fits = remaining_conditions(search.query)
        matches = MatchDocuments(search.query, url)
        # The one behind the last says whether there are more.
        page = (limit + 1, asked.offset) if fits is None else (MAX_OFFSET, 0)
        with self._index.matches(search.query, by, limit=page[0], offset=page[1]) as rows:
            found = list(rows if fits is None else islice(filter(fits, rows), *asked.part(limit)))
        data_sets = [matches.data_set(row) for row in found[:limit]]
        return SearchAnswer(data_sets, search.ignored, len(found) > limit)


def _parse(level: Level, within: UidPath, asked: "_Parameters") -> WebSearch:
    try:
        return parse_search(level, within.parts, asked.keys, asked.included, fuzzy=asked.fuzzy)
    except InvalidKey as error:
        raise Invalid([FieldProblem("query", str(error))]) from error


class _Parameters:
    """The parameters of a search (PS3.18 8.3.4)."""

    def __init__(self, given: Sequence[tuple[str, str]]) -> None:
        self.keys: list[tuple[str, str]] = []
        self.included: list[str] = []
        self.limit: int | None = None
        self.offset = 0
        self.fuzzy = False
        for name, value in given:
            if name == LIMIT:
                self.limit = _whole(name, value)
            elif name == OFFSET:
                self.offset = _whole(name, value)
            elif name == FUZZY:
                self.fuzzy = _truth(name, value)
            elif name == INCLUDE:
                self.included += [one.strip() for one in value.split(",") if one.strip()]
            elif name != ACCEPT:
                self.keys.append((name, value))
        if len(self.keys) + len(self.included) > MAX_KEYS:
            raise Invalid([FieldProblem("query", message("has too many parameters"))])

    def part(self, limit: int) -> tuple[int, int]:
        """Return where a page begins among all matches, and where its next one does."""
        return self.offset, self.offset + limit + 1


def _whole(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value[:9]) > MAX_OFFSET or len(value) > 9:  # noqa: PLR2004
        raise Invalid(
            [FieldProblem(name, message("must be a whole number up to %(most)s", most=MAX_OFFSET))]
        )
    return int(value)


def _truth(name: str, value: str) -> bool:
    found = TRUTHS.get(value.lower())
    if found is None:
        raise Invalid([FieldProblem(name, message("must be true or false"))])
    return found
