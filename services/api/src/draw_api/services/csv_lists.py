"""Reads lists as people save them: CSV in any common encoding, with any separator and line ends.

A spreadsheet can damage values before it saves them: long numbers become 1.23E+11, identifiers
become dates, cells show an error. This cannot be undone. Such values are refused with their line
and column, because what is left may identify another patient. Leading zeros that may be lost are
only a doubt, which the operator must judge.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Final

from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.wording import message

MAX_LIST_BYTES: Final = 4 * 1024 * 1024
MAX_LIST_LINES: Final = 100_000
"""More than any of our lists may contain; reading it takes a second or two."""
MAX_PROBLEMS: Final = 20
SEPARATORS: Final = ",;\t|"
TAB_IN_WORDS: Final = "\\t"
SEPARATOR_LINE: Final = re.compile(
    r'"?sep=(\\t|[^\w\s"]|\t)"?[,;\t|]*(\r\n|\r|\n|\Z)', re.IGNORECASE
)
"""The first line that tells Excel which separator follows."""
FORMULA_TEXT: Final = re.compile(r'="(.*)"')
"""The form by which an export prevents a spreadsheet from reading an identifier as a number."""
NEUTRALISED: Final = re.compile(r"""(\A|[,;\t|\r\n]["\s]*)'(?='*[=+\-@])""")
"""The form by which our own lists prevent a spreadsheet from computing a value, or part of it."""
BINARY: Final = {
    b"PK\x03\x04": message("this is a workbook (.xlsx) or another archive; save it as CSV"),
    b"\xd0\xcf\x11\xe0": message("this is a workbook (.xls); save it as CSV"),
    b"%PDF": message("this is a PDF; a list is a CSV file"),
}
ENCODINGS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SAMPLE_BYTES: Final = 2048
MAX_HEADING_LENGTH: Final = 64 * 1024
QUOTED: Final = re.compile(r'"[^"]*"')
_MARKS: Final = b"\x83\x84\x85\x86\x87\x88\x89\x8b\x95\x98\x99\x9b\x93\x94\x82\xa7".decode("cp1252")
_CAPITALS: Final = b"\x8a\x8e\x9f\x8c".decode("cp1252")
OTHER_CODE_PAGE: Final = re.compile(
    rf"\w*(?:(?<=[^\W\d_])[{_MARKS}](?=[^\W\d_])"
    rf"|(?<=[A-Za-z])[{_CAPITALS}](?=[a-z])|(?<=[a-z])[{_CAPITALS}])\w*"
)
"""Marks and capitals within words: most accented letters of MS-DOS and old Macintosh, when read as

Windows-1252.
"""
LINE_END: Final = re.compile(r"\r\n|\r|\n")
NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
INVISIBLE: Final = "\u200b\u200e\u200f\ufeff"
END_OF_DOS_FILE: Final = "\x1a"

_MONTHS: Final = (
    r"(jan|feb|m[aä]r|mrz|a[pvb]r|ma[iyj]|mei|ju[nl]|juin|juil|aug|ao[uû]t|sep|o[ck]t|nov|de[cz])"
    r"[a-zéû]*\.?"
)
SHORTENED: Final = re.compile(r"[+-]?[0-9]([.,][0-9]+)?E\+[0-9]+", re.IGNORECASE)
_DAY: Final = r"(0?[1-9]|[12][0-9]|3[01])"
_YEAR: Final = r"((19|20)[0-9]{2}|[0-9]{2})"
_CLOCK: Final = r"( [0-9]{1,2}:[0-9:]+)?"
DATE_LIKE: Final = re.compile(
    rf"{_DAY}(?P<dot>[./]){_DAY}(?P=dot){_YEAR}{_CLOCK}"
    rf"|(19|20)[0-9]{{2}}(?P<dash>[-/]){_DAY}(?P=dash){_DAY}{_CLOCK}"
    rf"|[0-9]{{1,4}}[-. ]+{_MONTHS}([-. ]+[0-9]{{2,4}})?|{_MONTHS}[-. ]+[0-9]{{1,4}}",
    re.IGNORECASE,
)
CELL_ERROR: Final = re.compile(
    r"#+|#(N/?A|NV|REF|BEZUG|VALUE|WERT|NAME|NUM|ZAHL|DIV/0|NULL)[!?]?", re.IGNORECASE
)
ROUNDED: Final = re.compile(r"[1-9][0-9]{14}0+")
"""A number of more than 15 digits in the form in which a spreadsheet keeps it."""
FRACTION: Final = re.compile(r"[0-9]+[.,]0")
MIN_LINES_TO_COMPARE: Final = 5
USUAL_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Line:
    """One non-empty line; `number` is where it begins in the file, from 1."""

    number: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """One used column: its meaning, its heading, and its position."""

    name: str
    title: str
    position: int

    def place(self, line: Line) -> str:
        """Return in words the place of this column's cell in a line."""
        if not self.title:
            return f"line {line.number}"
        return message("line %(line)s, column %(title)s", line=line.number, title=self.title)

    def cell(self, line: Line) -> str:
        """Return the column's value in a line, empty where the line is shorter."""
        return line.cells[self.position] if self.position < len(line.cells) else ""


@dataclass(frozen=True, slots=True)
class CsvList:
    """The lines of a list below its heading."""

    columns: Sequence[Column]
    ignored: Sequence[str]
    """Headings without a meaning here."""
    lines: Sequence[Line]

    def fields(self, line: Line) -> dict[str, str]:
        """Return the values of a line, without empty ones."""
        found = ((column.name, column.cell(line)) for column in self.columns)
        return {name: value for name, value in found if value}

    def place(self, line: Line, name: str) -> str:
        """Return in words the place of a value in a line."""
        return next(column.place(line) for column in self.columns if column.name == name)


Known = Callable[[str], str]
"""Returns the meaning of a heading, empty if it is unknown."""


def text_of(raw: bytes) -> str:
    """Return the text of a file: UTF-8, UTF-16 with or without its mark, else Windows-1252.

    Raises:
        Invalid: the file is too long, is not text, or holds control characters.
    """
    if len(raw) > MAX_LIST_BYTES:
        raise wrong(
            "body",
            message(
                "the list is longer than %(most)s MB",
                most=MAX_LIST_BYTES // 1024**2,
            ),
        )
    for beginning, words in BINARY.items():
        if raw.startswith(beginning):
            raise wrong("body", words)
    text = _decode(raw).removesuffix(END_OF_DOS_FILE)
    bad = NO_TEXT.search(text)
    if bad:
        number = len(LINE_END.findall(text, 0, bad.start())) + 1
        words = (
            message("this holds a NUL character, which no text has")
            if bad[0] == "\0"
            else message("this holds a control character, which no text has")
        )
        raise wrong(f"line {number}", words)
    return text


def list_of(text: str, known: Known, *, headless: Callable[[str], str]) -> CsvList:
    """Return the lines of a list with the meaning of each column.

    The first line names the columns, unless `headless` names the meaning of its only cell.

    Raises:
        Invalid: the list is empty, too long, not CSV, or its heading names something twice.
    """
    lines = list(islice(_lines(text), MAX_LIST_LINES + 1))
    if len(lines) > MAX_LIST_LINES:
        raise wrong(
            "body",
            message("the list has more than %(most)s lines", most=MAX_LIST_LINES),
        )
    if not lines:
        raise wrong("body", message("the list is empty"))
    first = lines[0]
    name = headless(first.cells[0])
    columns: list[Column] = [Column(name, "", 0)]
    ignored: list[str] = []
    below = lines
    if name:
        width, hint = 1, message("a list of several columns needs a first line that names them")
    else:
        columns, ignored = _columns(first, known)
        width = len(first.cells)
        hint = message(
            "this line has more cells than the heading has columns; quote what holds a separator"
        )
        below = lines[1:]
    problems = [
        FieldProblem(f"line {line.number}", hint) for line in below if len(line.cells) > width
    ]
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    if not below:
        raise wrong("body", message("the list has a heading and no line below it"))
    return CsvList(columns, ignored, below)


def damage(value: str) -> str:
    """Return in words how a spreadsheet has damaged an identifier; empty if it has not."""
    if SHORTENED.fullmatch(value):
        return message(
            "a spreadsheet has shortened this number to %(value)s; format the column "
            "as text and enter it again",
            value=value,
        )
    if ROUNDED.fullmatch(value):
        return message(
            "%(value)s ends in zeros after 15 digits, as a spreadsheet rounds long "
            "numbers; format the column as text and enter it again",
            value=value,
        )
    # 17-OCT is an accession number of ophthalmology; a spreadsheet writes 17-Oct.
    if DATE_LIKE.fullmatch(value) and not value.isupper():
        return message(
            "%(value)s looks like a date that a spreadsheet has made of an "
            "identifier; format the column as text and enter it again",
            value=value,
        )
    if CELL_ERROR.fullmatch(value):
        return message("%(value)s is what a spreadsheet shows instead of a value", value=value)
    return ""


def doubts_of(found: CsvList, names: Sequence[str]) -> list[FieldProblem]:
    """Return which identifiers may have lost leading zeros, or have become numbers."""
    doubts: list[FieldProblem] = []
    for column in found.columns:
        if column.name in names:
            doubts += _doubts(column, found.lines)
    return doubts


def wrong(field: str, words: str) -> Invalid:
    """Return the refusal of one field."""
    return Invalid([FieldProblem(field, words)])


def plain_title(title: str) -> str:
    """Return a heading without case, blanks and punctuation, for comparison with synonyms."""
    return re.sub(r"[\W_]", "", title).casefold()


def _decode(raw: bytes) -> str:
    encoding = next((name for mark, name in ENCODINGS if raw.startswith(mark)), "")
    mark = next((mark for mark, _ in ENCODINGS if raw.startswith(mark)), b"")
    if not encoding:
        sample = raw[:SAMPLE_BYTES]
        half = len(sample) // 2
        if half and sample[1::2].count(0) * 2 > half:
            encoding = "utf-16-le"
        elif half and sample[0::2].count(0) * 2 > half:
            encoding = "utf-16-be"
    try:
        return raw.removeprefix(mark).decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding:
            raise wrong(
                "body",
                message("the file says to be %(encoding)s and is not", encoding=encoding.upper()),
            ) from error
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError as error:
        words = message("the text is neither UTF-8 nor UTF-16 nor Windows-1252; save it as UTF-8")
        raise wrong("body", words) from error
    other = OTHER_CODE_PAGE.search(text)
    if other:
        number = len(LINE_END.findall(text, 0, other.start())) + 1
        words = message(
            "%(word)s is a word of a CSV file for MS-DOS or Macintosh; save it as UTF-8",
            word=other[0],
        )
        raise wrong(f"line {number}", words)
    return text


def _lines(text: str) -> Iterator[Line]:
    told = SEPARATOR_LINE.match(text)
    separator = told[1].replace(TAB_IN_WORDS, "\t") if told else _separator(text)
    before = 1 if told else 0
    source = StringIO(text[told.end() :] if told else text, newline="")
    reader = csv.reader(source, delimiter=separator, skipinitialspace=True, strict=True)
    begins = before + 1
    try:
        for row in reader:
            cells = [_cell(cell) for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield Line(begins, cells)
            begins = before + reader.line_num + 1
    except csv.Error as error:
        words = message("this is not CSV: a quotation mark is not closed, or text follows it")
        if "limit" in str(error):
            words = message("a cell is longer than any value of a list")
        raise wrong(f"line {begins}", words) from error


def _cell(cell: str) -> str:
    # A line end within quotes reads as a blank.
    value = LINE_END.sub(" ", cell).strip().strip(INVISIBLE)
    formula = FORMULA_TEXT.fullmatch(value)
    if formula:
        return formula[1].replace('""', '"').strip()
    return NEUTRALISED.sub(r"\1", value)


def _separator(text: str) -> str:
    """Return the separator that the first non-empty line uses most."""
    # Quoted parts do not count: a heading may contain line ends.
    lines = re.split(r"[\r\n]+", QUOTED.sub("x", text[:MAX_HEADING_LENGTH]))
    first = next((line for line in lines if line.strip(SEPARATORS + " ")), text)
    return max(SEPARATORS, key=first.count)


def _columns(first: Line, known: Known) -> tuple[list[Column], list[str]]:
    columns: dict[str, Column] = {}
    ignored: list[str] = []
    for position, title in enumerate(first.cells):
        name = known(title)
        if not name:
            ignored += [title] if title else []
        elif name in columns:
            other = columns[name].title
            words = message(
                "the columns %(other)s and %(title)s mean the same; one of them has to go",
                other=other,
                title=title,
            )
            raise wrong(f"line {first.number}", words)
        else:
            columns[name] = Column(name, title, position)
    return list(columns.values()), ignored


def _doubts(column: Column, lines: Sequence[Line]) -> Iterator[FieldProblem]:
    values = [(line, value) for line in lines if (value := column.cell(line))]
    for line, value in values:
        if FRACTION.fullmatch(value):
            words = message(
                "%(value)s may have been %(before)s before a program took it for a number",
                value=value,
                before=value[:-2],
            )
            yield FieldProblem(column.place(line), words)
    if any(not value.isdecimal() or value.startswith("0") for _, value in values):
        return
    lengths: Mapping[int, int] = Counter(len(value) for _, value in values)
    if len(values) < MIN_LINES_TO_COMPARE:
        return
    usual = max(lengths, key=lambda length: lengths[length])
    if lengths[usual] < USUAL_SHARE * len(values):
        return
    for line, value in values:
        if len(value) < usual:
            words = message(
                "%(value)s is shorter than the others; it may have lost leading zeros", value=value
            )
            yield FieldProblem(column.place(line), words)
