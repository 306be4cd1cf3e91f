"""Lists of questions: each column is a query key, each line a query for studies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from draw_api.models.batch_queries import MAX_LINES, AskedLine
from draw_api.models.queries import NewQuery
from draw_api.services.csv_lists import (
    MAX_PROBLEMS,
    CsvList,
    damage,
    doubts_of,
    list_of,
    text_of,
    wrong,
)
from draw_api.services.list_columns import keyword_of
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.contracts.validation_words import words_of
from draw_shared.wording import message

IDENTIFIERS: Final = ("PatientID", "AccessionNumber", "StudyID")
BELOW_STUDIES: Final = ("SeriesInstanceUID", "SOPInstanceUID")
ASKS_FOR_ALL: Final = "*? \\^="
LOOKS_LIKE_UID: Final = "0123456789."
ANY_NODE: Final = [1]


@dataclass(frozen=True, slots=True)
class QueryList:
    """The questions in a list, and doubts about them."""

    columns: Sequence[str]
    lines: Sequence[AskedLine]
    repeated: int
    """Lines that repeat an earlier question; each question is asked once."""
    ignored: Sequence[str]
    """Headings that name no attribute."""
    doubts: Sequence[FieldProblem]


def query_list_of_csv(raw: bytes) -> QueryList:
    """Return the questions in a file; raises like `query_list_of_text`, or if it is not text."""
    return query_list_of_text(text_of(raw))


def query_list_of_text(text: str) -> QueryList:
    """Return the questions of a list.

    The first line names the attributes; without such a line there is one column of Study Instance
    UIDs. Columns that name no attribute are ignored.

    Raises:
        Invalid: lines cannot be asked, each with its number and column.
    """
    found = list_of(text, keyword_of, headless=_headless)
    if not found.columns:
        raise wrong("line 1", message("no column names an attribute to ask for, such as PatientID"))
    for column in found.columns:
        if column.name in BELOW_STUDIES:
            raise wrong(
                "line 1",
                message("a list asks for studies; %(column)s is below them", column=column.title),
            )
    asked = _parse_lines(found)
    return QueryList(
        [column.name for column in found.columns],
        *distinct(asked),
        found.ignored,
        doubts_of(found, IDENTIFIERS)[:MAX_PROBLEMS],
    )


def _parse_lines(found: CsvList) -> list[AskedLine]:
    """Return the question of each line; repeated lines are not checked again."""
    problems: list[FieldProblem] = []
    asked: list[AskedLine] = []
    known: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for line in found.lines:
        fields = found.fields(line)
        said = tuple(fields.items())
        if said in known:
            asked.append(AskedLine(line.number, known[said]))
            continue
        sent, wrongs = _to_keys(fields)
        damaged = {name: damage(fields[name]) for name in IDENTIFIERS if name in fields}
        wrongs |= {name: words for name, words in damaged.items() if words}
        for name, words in wrongs.items():
            place = found.place(line, name) if name else f"line {line.number}"
            problems.append(FieldProblem(place, words))
        if len(problems) >= MAX_PROBLEMS:
            break
        if not wrongs:
            known[said] = sent
            asked.append(AskedLine(line.number, sent))
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    return asked


def query_list_of_keys(lines: Sequence[Mapping[str, str]]) -> QueryList:
    """Return a program's questions, numbered from 1.

    Raises:
        Invalid: a line cannot be asked.
    """
    problems: list[FieldProblem] = []
    asked: list[AskedLine] = []
    columns: dict[str, None] = {}
    for position, keys in enumerate(lines):
        sent, wrongs = _to_keys(keys)
        for name, words in wrongs.items():
            place = f"lines.{position}.{name}" if name else f"lines.{position}"
            problems.append(FieldProblem(place, words))
        columns |= dict.fromkeys(sent)
        asked.append(AskedLine(position + 1, sent))
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    return QueryList(list(columns), *distinct(asked), (), ())


def distinct(lines: Sequence[AskedLine]) -> tuple[list[AskedLine], int]:
    """Return the lines without repeated questions, and how many were repeated.

    Raises:
        Invalid: there are too many.
    """
    kept: dict[tuple[tuple[str, str], ...], AskedLine] = {}
    for line in lines:
        kept.setdefault(tuple(sorted(line.keys.items())), line)
    if len(kept) > MAX_LINES:
        raise wrong("body", message("the list asks for more than %(most)s things", most=MAX_LINES))
    return list(kept.values()), len(lines) - len(kept)


def _headless(cell: str) -> str:
    uid_like = "." in cell and not cell.strip(LOOKS_LIKE_UID)
    return "StudyInstanceUID" if uid_like else ""


def _to_keys(keys: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys for the nodes, and the problems by key; keys are empty with any problem."""
    below = [keyword for keyword in BELOW_STUDIES if keyword in keys]
    if below:
        return {}, dict.fromkeys(below, message("a list asks for studies; this is below them"))
    try:
        asked = NewQuery(level="STUDY", keys=dict(keys), node_ids=ANY_NODE)
    except ValidationError as error:
        return {}, dict(_key_problems(error))
    sent = {keyword: str(value) for keyword, value in asked.keys.items() if value}
    if not any(value.strip(ASKS_FOR_ALL) for value in sent.values()):
        return {}, {"": message("this asks for everything the node has")}
    return sent, {}


def _key_problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    for one in error.errors():
        inside = one["loc"][1:2]
        yield str(inside[0]) if inside else "", words_of(one)
